// Every word of the page, in English and Chinese.

const words = {
  en: {
    complete: "Complete", chat: "Chat", mode: "Mode", theme: "Light or dark", settings: "Settings", close: "Close",
    prompt: "Prompt", send: "Send", stop: "Stop", clear: "Clear", save: "Save", cancel: "Cancel",
    completePlaceholder: "Begin a text…", chatPlaceholder: "Say something…",
    welcomeComplete: "Begin a text, and the model goes on.", welcomeChat: "Say something to the model.",
    hint: "Enter to send, Shift+Enter for a new line",
    temperature: "Temperature", temperatureHelp: "0 always takes the likeliest token",
    max_tokens: "Longest reply", max_tokensHelp: "tokens",
    top_p: "Top-p", top_pHelp: "keep the likeliest tokens that together reach this share; 1 keeps all",
    top_k: "Top-k", top_kHelp: "keep this many of the likeliest tokens; 0 keeps all",
    min_p: "Min-p", min_pHelp: "keep tokens at least this likely beside the likeliest; 0 keeps all",
    repetition_penalty: "Repetition penalty", repetition_penaltyHelp: "1 is none",
    seed: "Seed", seedHelp: "empty: another reply each time", stopField: "Stop at", stopFieldHelp: "one string a line",
    system: "System message", reset: "Back to defaults",
    key: "API key", keyHelp: "This server asks for a key. It stays in this tab.",
    up: "Good reply", down: "Bad reply", correct: "Write a better reply", copy: "Copy", continue: "Go on from here",
    correctionLabel: "What should it have said?",
    thanksRating: "Noted.", thanksCorrection: "Correction saved.", copied: "Copied.",
    tokens: "tokens", perSecond: "tokens/s", stopped: "stopped", length: "length limit",
    needKey: "This server asks for an API key: enter it under Settings.",
    offline: "The server does not answer.",
    noTemplate: "This model has no chat template; turns are written as plain text.",
  },
  zh: {
    complete: "续写", chat: "对话", mode: "模式", theme: "浅色或深色", settings: "设置", close: "关闭",
    prompt: "提示", send: "发送", stop: "停止", clear: "清空", save: "保存", cancel: "取消",
    completePlaceholder: "写一个开头……", chatPlaceholder: "说点什么……",
    welcomeComplete: "写下开头，模型接着写。", welcomeChat: "跟模型说点什么。",
    hint: "回车发送，Shift+回车换行",
    temperature: "温度", temperatureHelp: "0 总取最可能的词元",
    max_tokens: "最长回复", max_tokensHelp: "词元数",
    top_p: "Top-p", top_pHelp: "只留累计概率达到此值的最可能词元；1 为全留",
    top_k: "Top-k", top_kHelp: "只留最可能的若干词元；0 为全留",
    min_p: "Min-p", min_pHelp: "只留不低于最高概率此比例的词元；0 为全留",
    repetition_penalty: "重复惩罚", repetition_penaltyHelp: "1 为不惩罚",
    seed: "随机种子", seedHelp: "留空则每次不同", stopField: "停止串", stopFieldHelp: "每行一个",
    system: "系统消息", reset: "恢复默认",
    key: "API 密钥", keyHelp: "此服务器需要密钥。密钥只留在本标签页。",
    up: "回复好", down: "回复差", correct: "写一个更好的回复", copy: "复制", continue: "从这里接着写",
    correctionLabel: "它本该怎么说？",
    thanksRating: "已记下。", thanksCorrection: "更正已保存。", copied: "已复制。",
    tokens: "词元", perSecond: "词元/秒", stopped: "已停止", length: "达到长度上限",
    needKey: "此服务器需要 API 密钥：请在设置中填写。",
    offline: "服务器没有应答。",
    noTemplate: "此模型没有对话模板，各轮对话按普通文本书写。",
  },
};

export const examples = {
  complete: ["The people of the United States", "My fellow citizens,", "春眠不觉晓，", "明月"],
  chat: ["Good evening!", "你好！"],
};

let current = "en";

export function chooseLanguage(language) {
  current = language in words ? language : "en";
}

export const language = () => current;

export const word = (name) => words[current][name] ?? name;

// Writes the words into everything below `root` that names one.
export function translate(root) {
  for (const one of root.querySelectorAll("[data-word]")) one.textContent = word(one.dataset.word);
  for (const one of root.querySelectorAll("[data-label]")) {
    const text = word(one.dataset.label);
    one.setAttribute("aria-label", text);
    if (one.tagName === "BUTTON") one.title = text;
  }
}
