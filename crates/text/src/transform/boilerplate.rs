//! Lines of web pages and scanned books that are not part of any text.

use std::borrow::Cow;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use regex::{Regex, RegexBuilder};

use super::Pattern;

/// One kind of line in the built-in list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoilerplatePattern {
    pub name: &'static str,
    /// A line without any of these words (whatever their case) cannot match: most lines are done with after one search.
    pub words: &'static [&'static str],
    /// A regular expression that the trimmed line must match as a whole; case does not matter.
    pub pattern: &'static str,
}

const fn line(name: &'static str, words: &'static [&'static str], pattern: &'static str) -> BoilerplatePattern {
    BoilerplatePattern { name, words, pattern }
}

/// What `boilerplate_lines` removes. Each pattern names the whole line, so that a sentence which only mentions such words
/// stays.
pub const BOILERPLATE: &[BoilerplatePattern] = &[
    line("cookies", &["cookies"], r"(we|this (web)?site|our (web)?site)( and our partners)? uses? cookies\b.*"),
    line("cookies", &["cookie"], r"by (continuing|using|browsing|clicking)\b.*\bcookies?\b.*"),
    line("cookies", &["cookie"], r"(accept|allow|reject|manage)( all)?( the)? cookies?( settings| preferences)?[.!]?"),
    line(
        "share",
        &["share", "tweet", "like", "pin", "email"],
        r"(share|tweet|like|pin|email)( this)?( (article|page|post|story))?( (on|via|to|by) \w+(, \w+)*)?[:.!]?",
    ),
    line(
        "share",
        &["share on", "follow us on", "find us on", "join us on", "like us on"],
        r"(share|follow us|find us|join us|like us) on\b.{0,60}",
    ),
    line(
        "subscribe",
        &["sign up", "subscribe"],
        r"(sign up|subscribe)( now| today| here)?( to| for)?( our| the)?.{0,30}(newsletter|mailing list|updates|channel).{0,30}",
    ),
    line(
        "login",
        &["log in", "login", "sign in", "register", "sign up", "create an account"],
        r"(log ?in|sign in|register|sign up|create an account)(( (or|/|\|) |/|\|)(log ?in|sign in|register|sign up|create an account))*( to (comment|post|reply|continue|read|view).{0,30})?[.!]?",
    ),
    line(
        "navigation",
        &[
            "skip to",
            "back to top",
            "read more",
            "continue reading",
            "learn more",
            "show more",
            "load more",
            "click here",
            "home",
            "next",
            "previous",
            "menu",
            "advertisement",
            "sponsored",
        ],
        r"(skip to (main )?content|back to top|read more|continue reading|learn more|show more|load more|click here.{0,40}|home|next page|previous page|next|previous|menu|advertisement|sponsored( content)?)[.…»›>→ ]*",
    ),
    line("copyright", &["copyright", "©", "(c)"], r"(copyright|©|\(c\)|copyright ©|copyright \(c\))\s*\d{4}.{0,80}"),
    line("copyright", &["all rights reserved"], r".{0,60}\ball rights reserved\.?.{0,40}"),
    line(
        "terms",
        &["privacy policy", "terms of", "terms and", "contact us", "about us", "site map", "sitemap"],
        r"(privacy policy|terms (of (use|service)|and conditions)|contact us|about us|site ?map)((\s*[|·•/,&-]\s*|\s+)(privacy policy|terms (of (use|service)|and conditions)|contact us|about us|site ?map))*",
    ),
    line("page number", &["page", "p."], r"[-–—~·\s]*(page|p\.)\s*\d{1,5}(\s*(of|/)\s*\d{1,5})?[-–—~·\s]*"),
    line("page number", &["-", "–", "—", "~", "·"], r"[-–—~·]+\s*\d{1,5}\s*[-–—~·]+"),
    line("javascript", &["enable javascript"], r".{0,40}(please )?enable javascript\b.{0,60}"),
    line(
        "counts",
        &["comment", "like", "view", "share", "replies", "retweet"],
        r"\d[\d,.]*\s*(comments?|likes?|views?|shares?|replies|retweets)",
    ),
    line(
        "编辑",
        &["编辑", "責任", "责任", "责编", "校对", "审核", "编审", "監製", "监制", "排版"],
        r"[（(\[【]?\s*(本文)?(责任编辑|责编|编辑|校对|审核|值班编辑|实习编辑|责任編輯|責任編輯|编审|監製|监制|排版)\s*[:：/][^。！？]{0,40}[）)\]】]?",
    ),
    line(
        "来源",
        &["来源", "來源", "转自", "转载自", "轉載自"],
        r"[（(\[【]?\s*(本文|文章|信息|稿件|图片|資料)?(来源|來源|转自|转载自|轉載自)\s*[:：].{0,40}[）)\]】]?",
    ),
    line(
        "版权",
        &["版权所有", "版權所有", "著作权所有", "保留所有权利", "保留一切权利", "未经", "未經"],
        r"[^。！？]{0,30}(版权所有|版權所有|著作权所有|保留所有权利|保留一切权利|未经(书面)?(授权|许可|允许).{0,12}(转载|复制|使用)|未經(授權|許可).{0,8}轉載)([^者。！？][^。！？]{0,50})?[。！]?",
    ),
    line("版权", &["声明", "聲明"], r"(特别|版权|免责|免責|版權)(声明|聲明)\s*[:：].{0,120}"),
    line(
        "备案",
        &["ICP", "公网安备"],
        r".{0,40}([京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼]ICP[备证]\s*\d+|公网安备\s*\d+).{0,60}",
    ),
    line(
        "点击",
        &["点击", "點擊", "点此", "戳", "长按", "長按", "扫描", "掃描", "扫一扫", "识别"],
        r"[>》→▶▼\s]*(点击|點擊|点此|戳|猛戳|长按|長按|扫描|掃描|扫一扫|识别)[^。，,]{0,6}(查看|阅读|閱讀|进入|進入|下载|下載|关注|關注|报名|二维码|二維碼|更多|全文|原文|链接|這裡|这里|此处|播放)[^。]{0,20}[。！!>》…]*",
    ),
    line(
        "关注",
        &["关注", "關注", "订阅", "訂閱", "加入"],
        r"(欢迎|歡迎|请|請|敬请|记得)?(关注|關注|订阅|訂閱|加入)(我们|我們|本站)?[^。！？]{0,12}(公众号|公眾號|微信|微博|头条号|抖音|频道|頻道|QQ群|粉丝群)[^。！？]{0,20}[。！]?",
    ),
    line(
        "分享",
        &[
            "分享", "转发", "轉發", "收藏", "点赞", "點贊", "评论", "評論", "打印", "举报", "舉報", "在看", "赞",
            "回复", "纠错",
        ],
        r"(分享|转发|轉發|收藏|点赞|點贊|评论|評論|打印|举报|舉報|在看|赞|回复|纠错)([\s/|,，、·]*(分享|转发|轉發|收藏|点赞|點贊|评论|評論|打印|举报|舉報|在看|赞|回复|纠错))*((到|至)([:：\s]|微信|微博|QQ|朋友|好友).{0,20})?[:：]?",
    ),
    line("导航", &["位置"], r"(当前位置|當前位置|您的位置|您现在的位置|所在位置)\s*[:：].{0,80}"),
    line(
        "导航",
        &[
            "首页",
            "一页",
            "尾页",
            "一篇",
            "返回",
            "相关",
            "推荐阅读",
            "延伸阅读",
            "热门推荐",
            "猜你喜欢",
            "阅读原文",
            "阅读全文",
            "查看更多",
            "加载更多",
            "展开全文",
            "首頁",
            "一頁",
            "回頂端",
            "相關閱讀",
            "延伸閱讀",
            "閱讀全文",
        ],
        r"(首页|上一页|下一页|尾页|上一篇|下一篇|返回顶部|返回首页|返回目录|返回列表|相关阅读|相关新闻|相关推荐|推荐阅读|延伸阅读|热门推荐|猜你喜欢|阅读原文|阅读全文|查看更多|加载更多|展开全文|首頁|上一頁|下一頁|回頂端|相關閱讀|延伸閱讀|閱讀全文)([\s/|>»:：.…]+(首页|上一页|下一页|尾页|上一篇|下一篇|首頁|上一頁|下一頁))*[\s:：>».…]*",
    ),
    line(
        "登录",
        &["登录", "登錄", "登入", "注册", "註冊"],
        r"(请|請|您还没有|您需要)?(先)?(登录|登錄|登入|注册|註冊)([\s/|或、]*(登录|登錄|登入|注册|註冊))*(后|後)?(才可以|才能|即可|可以)?(发表|查看|回复|发帖|評論|评论|留言)?(评论|回复|留言|内容|全文)?[。！!]?",
    ),
    line("广告", &["广告", "廣告", "推广", "赞助商"], r"(广告|廣告|推广|赞助商链接)[：:]?"),
    line(
        "页码",
        &["页", "頁"],
        r"[-–—~·\s]*第\s*[\d一二三四五六七八九十百]{1,5}\s*[页頁](\s*[/，,共]+\s*[\d一二三四五六七八九十百]{1,5}\s*[页頁]?)?[-–—~·\s]*",
    ),
    line(
        "次数",
        &["阅读", "閱讀", "浏览", "瀏覽", "点击", "评论", "点赞", "转发"],
        r"(阅读|閱讀|浏览|瀏覽|点击|评论|点赞|转发)(次数|量|数)?\s*[:：(（]?\s*\d[\d,.]*\s*(万|次|条|人)?[)）]?",
    ),
];

/// The built-in list, made ready once.
struct Matcher {
    words: AhoCorasick,
    /// The pattern that each word belongs to.
    owners: Vec<usize>,
    patterns: Vec<Regex>,
}

/// The list is a constant that a test compiles: `None` would mean that it is wrong.
static BUILT_IN: LazyLock<Option<Matcher>> = LazyLock::new(|| {
    let owned =
        BOILERPLATE.iter().enumerate().flat_map(|(owner, line)| line.words.iter().map(move |word| (owner, *word)));
    let (owners, words): (Vec<usize>, Vec<&str>) = owned.unzip();
    let whole = |line: &BoilerplatePattern| {
        RegexBuilder::new(&format!("^(?:{})$", line.pattern)).case_insensitive(true).build().ok()
    };
    Some(Matcher {
        words: AhoCorasick::builder().ascii_case_insensitive(true).build(words).ok()?,
        owners,
        patterns: BOILERPLATE.iter().map(whole).collect::<Option<_>>()?,
    })
});

impl Matcher {
    fn is_match(&self, line: &str) -> bool {
        let mut tried = 0u64; // bits of patterns; a test holds their number
        self.words.find_overlapping_iter(line).any(|found| {
            let owner = self.owners[found.pattern().as_usize()];
            let first = tried & 1 << owner == 0;
            tried |= 1 << owner;
            first && self.patterns[owner].is_match(line)
        })
    }
}

pub(super) fn longest_line() -> usize {
    200
}

pub(super) fn remove<'a>(text: &'a str, patterns: &[Pattern], builtin: bool, max_chars: usize) -> Cow<'a, str> {
    let built_in = BUILT_IN.as_ref().filter(|_| builtin);
    let is_boilerplate = |line: &str| {
        let line = line.trim();
        !line.is_empty()
            && line.chars().nth(max_chars).is_none()
            && (built_in.is_some_and(|list| list.is_match(line))
                || patterns.iter().any(|pattern| pattern.is_match(line)))
    };
    let mut out = String::with_capacity(text.len());
    let mut removed = false;
    for line in text.split_inclusive('\n') {
        if is_boilerplate(line) {
            removed = true;
        } else {
            out.push_str(line);
        }
    }
    if !removed {
        return Cow::Borrowed(text);
    }
    if !text.ends_with('\n') && out.ends_with('\n') {
        out.pop();
    }
    Cow::Owned(out)
}
