"""Varied text in many scripts for the tokenizer tests, the same on every run."""
import random

PROSE = [
    "The quick brown fox doesn't jump; it's 10,000.75 metres — isn't THAT far?",
    "Übergrößenträger müßten's wissen: Straße, GROẞ, naïve façade, Ångström.",
    "La función devuelve ¿qué? ¡Más de 3½ años! L'été, c'est l'homme où qu'il aille.",
    "ОПИСАНИЕ Системный вызов Ёлка їжак; Ελληνικά ΚΕΦΑΛΑΊΑ ς σ Ωμέγα.",
    "描述这个函数使用GPU加速2024年模型test的结果。你好、世界!「引用」々〇〡",
    "カタカナとひらがな漢字かな交じり文ー、東京タワーは333メートル。ﾊﾝｶｸ",
    "한국어 문장은 띄어쓰기가 있다. 조선말ㄱㄴㄷ",
    "हिन्दी में वाक्य क्षत्रिय ज़रूर १२३४५; தமிழ் எழுத்து; ไทยภาษาไม่มีช่องว่าง๑๒๓",
    "عربيّ مَكْتُوب ١٢٣٤٥ שָׁלוֹם עולם; გამარჯობა ᲒᲐᲛᲐᲠᲯᲝᲑᲐ Հայերեն",
    "Tiếng Việt có dấu: Nguyễn Thị Ánh; e\u0301 A\u0308 o\u0328\u0304 combining",
    "😀👍🏽👩‍👩‍👧‍👦🇩🇪 ☃️ ✓ → ∑∫√ ½ ² Ⅷ ⑨ ㊗ ﷽ Ǆ ǅ ǆ ʰ ª º",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𠀀𠮷野家 𐍈𐌰 𓀀𓂀 ᏣᎳᎩ ꮳꮃꭹ ⴰⵣⵓⵍ አማርኛ မြန်မာ ខ្មែរ བོད་ຍິນ",
    "WE'LL THEY'RE I'M he'S it'ſ don'T 'twas 've'd x'll1 ’s 'sS",
]
CODE = [
    "static int parseHTTPResponse2XX(const uint8_t *buf, size_t nBytes) {\n\treturn -1;\n}\n",
    "def __init__(self, maxLen=0x7FFF_FFFF):\n    self.camelCase = [i**2 for i in range(3)]\n\n\n",
    "<div class=\"foo-bar\">&nbsp;</div>\r\n\r\n  <!-- XMLHttpRequest -->\r\n",
    "SELECT * FROM tblUsers WHERE userID='42' AND x<>1e-9;  \n \n  \n",
    "{\"key\": [1, 2.50, null, true], \"日本語Key\": \"\\u00e9\\n\"}\n",
    "https://example.org/a/b?c=d&e=%20#frag user.name+tag@mail.example 192.168.0.1:8080\n",
    "\t\tif(a&&b||!c){x^=~y>>>3;}//comment/*...*/\n#define MAX(a,b) ((a)>(b)?(a):(b))\n",
    "<|im_user|>user<|im_middle|>hi<|im_end|> [EOS] </s> <think>\n",
]
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n ", "\n   ", "\u00a0", "\u3000", "\u2009",
          "\u2028", "\x85", "\x0b", "\u180e", "\u200b", "\ufeff", "\x1c", "\x00", "", "", ""]
# First and last code points, all assigned long ago.
RANGES = [(0x20, 0x7e), (0xa0, 0x24f), (0x300, 0x36f), (0x391, 0x3a1), (0x400, 0x52f), (0x5d0, 0x5ea),
          (0x620, 0x669), (0x905, 0x939), (0xe01, 0xe3a), (0x10d0, 0x10f0), (0x13a0, 0x13f5),
          (0x1e00, 0x1eff), (0x2010, 0x205e), (0x2070, 0x2071), (0x2150, 0x2188), (0x2190, 0x23ff),
          (0x2e80, 0x2e99), (0x2f00, 0x2fd5), (0x3000, 0x303f), (0x3041, 0x3096), (0x30a0, 0x30ff),
          (0x3400, 0x4db5), (0x4e00, 0x9fa5), (0xac00, 0xd7a3), (0xf900, 0xfa2d), (0xfb00, 0xfb06),
          (0xff01, 0xff9f), (0x10400, 0x1044f), (0x1d400, 0x1d454), (0x1f300, 0x1f5ff),
          (0x20000, 0x2a6d6)]


def mixed_text(n_chars, seed=1):
    rng = random.Random(seed)
    out, n = [], 0
    while n < n_chars:
        kind = rng.random()
        if kind < 0.45:
            words = rng.choice(PROSE).split(" ")
            begin = rng.randrange(len(words))
            part = " ".join(words[begin:begin + rng.randint(1, 8)])
        elif kind < 0.7:
            part = rng.choice(CODE)[rng.randrange(8):]
        elif kind < 0.8:
            part = "".join(chr(rng.randint(*rng.choice(RANGES))) for _ in range(rng.randint(1, 6)))
        elif kind < 0.9:
            part = rng.choice("aAzZ0é你 \n\t!-ªʰ\u0301") * rng.randint(1, 20)
        else:
            part = str(rng.randrange(10 ** rng.randint(1, 9)))
        out.append(part + rng.choice(SPACES))
        n += len(out[-1])
    return "".join(out)
