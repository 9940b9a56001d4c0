// The server's API: OpenAI's endpoints, and feedback.

const keyName = "danlu-key";

// A tab's own storage: the key is forgotten with the tab.
export const savedKey = () => sessionStorage.getItem(keyName) ?? "";
export const saveKey = (key) => sessionStorage.setItem(keyName, key);

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function headers() {
  const key = savedKey();
  return { "content-type": "application/json", ...(key && { authorization: `Bearer ${key}` }) };
}

async function ask(path, body, signal) {
  const options = body === undefined
    ? { headers: headers(), signal }
    : { method: "POST", headers: headers(), body: JSON.stringify(body), signal };
  const response = await fetch(path, options);
  if (response.ok) return response;
  const error = await response.json().catch(() => null);
  throw new ApiError(response.status, error?.error?.message ?? `HTTP ${response.status}`);
}

export const health = async () => (await fetch("/health")).json();
export const model = async () => (await (await ask("/v1/models")).json()).data[0];
export const sendFeedback = async (feedback) => (await ask("/v1/feedback", feedback)).json();

// Streams a reply. Calls `onText` with each piece; gives the reply's id, its finish reason and usage.
export async function streamReply(endpoint, request, signal, onStart, onText) {
  const body = { ...request, stream: true, stream_options: { include_usage: true } };
  const response = await ask(endpoint, body, signal);
  onStart(response.headers.get("x-reply-id"));
  const outcome = { finish: null, usage: null };
  for await (const data of events(response.body)) {
    if (data === "[DONE]") break;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(0, chunk.error.message);
    if (chunk.usage) outcome.usage = chunk.usage;
    const choice = chunk.choices[0];
    if (!choice) continue;
    const text = choice.text ?? choice.delta?.content;
    if (text) onText(text);
    if (choice.finish_reason) outcome.finish = choice.finish_reason;
  }
  return outcome;
}

// The data of each server-sent event.
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const parts = held.split("\n\n");
    held = parts.pop();
    for (const part of parts) {
      const lines = part.split("\n").filter((line) => line.startsWith("data:"));
      if (lines.length) yield lines.map((line) => line.slice(5).trimStart()).join("\n");
    }
  }
}
