"""Writes ``recipients.csv`` and ``recipients-with-mistakes.csv`` beside this file, the same bytes every time.

Names in many scripts, domains that need IDNA; every domain is reserved for examples (RFC 2606, RFC 6761,
and IDNs under ``.example``), so that no mail to them can reach anybody.
"""

import csv
import random
from pathlib import Path

HERE = Path(__file__).parent
HOW_MANY = 2_000

# (language, country, given names, family names). The local part is made of an ASCII spelling, given after the slash.
PEOPLE = [
    ("en", "GB", "Ann/ann Oliver/oliver Grace/grace Jack/jack Ruby/ruby", "Walker/walker O'Neill/oneill Hughes/hughes"),
    ("en", "IN", "Asha/asha Rohan/rohan Meera/meera Vikram/vikram", "Nair/nair Iyer/iyer Menon/menon Bose/bose"),
    ("hi", "IN", "आशा/asha रोहन/rohan मीरा/meera विक्रम/vikram", "शर्मा/sharma वर्मा/verma गुप्ता/gupta सिंह/singh"),
    ("ta", "IN", "கவிதா/kavitha முருகன்/murugan", "ராஜன்/rajan செல்வம்/selvam"),
    ("de", "DE", "Jürgen/juergen Käthe/kaethe Lukas/lukas Zoë/zoe", "Müller/mueller Groß/gross Schäfer/schaefer Böhm/boehm"),
    ("fr", "FR", "Élodie/elodie François/francois Zoé/zoe Noël/noel", "Lefèvre/lefevre Béranger/beranger d'Aubigné/daubigne"),
    ("es", "MX", "Íñigo/inigo María/maria José/jose Lucía/lucia", "Núñez/nunez Peña/pena García/garcia Ibáñez/ibanez"),
    ("pt", "BR", "João/joao Conceição/conceicao Inês/ines", "Araújo/araujo Simões/simoes Gonçalves/goncalves"),
    ("pl", "PL", "Łukasz/lukasz Małgorzata/malgorzata Żaneta/zaneta", "Wójcik/wojcik Dąbrowski/dabrowski Świątek/swiatek"),
    ("cs", "CZ", "Jiří/jiri Zdeněk/zdenek Šárka/sarka", "Dvořák/dvorak Němcová/nemcova Růžička/ruzicka"),
    ("tr", "TR", "Çağla/cagla Işıl/isil Ömer/omer İpek/ipek", "Yıldız/yildiz Şahin/sahin Öztürk/ozturk"),
    ("el", "GR", "Ελένη/eleni Γιώργος/giorgos Σοφία/sofia", "Παπαδόπουλος/papadopoulos Νικολάου/nikolaou"),
    ("uk", "UA", "Оксана/oksana Їжак/yizhak Тарас/taras", "Шевченко/shevchenko Лисенко/lysenko"),
    ("ar", "EG", "ليلى/layla عمر/omar نور/nour", "حسن/hassan المصري/elmasry"),
    ("he", "IL", "נועה/noa איתי/itai תמר/tamar", "כהן/cohen לוי/levi"),
    ("ja", "JP", "陽葵/himari 蓮/ren さくら/sakura", "佐藤/sato 鈴木/suzuki 高橋/takahashi"),
    ("ko", "KR", "서연/seoyeon 민준/minjun 지우/jiwoo", "김/kim 이/lee 박/park"),
    ("zh", "TW", "雅婷/yating 家豪/jiahao 怡君/yijun", "陳/chen 林/lin 黃/huang"),
    ("th", "TH", "สมชาย/somchai มาลี/malee", "ใจดี/jaidee สุขสันต์/suksan"),
    ("ka", "GE", "ნინო/nino გიორგი/giorgi", "ბერიძე/beridze კაპანაძე/kapanadze"),
    ("am", "ET", "ሰላም/selam አበበ/abebe", "ተስፋዬ/tesfaye በቀለ/bekele"),
]  # fmt: skip
FAMILY_FIRST = {"ja", "ko", "zh"}

PLAIN = ["example.org", "example.com", "example.net", "mail.example.org", "post.example.com", "inbox.example"]
IDN = {
    "de": ["bücher.example", "straße.example"], "ja": ["例え.example"], "zh": ["範例.example"], "ko": ["실례.example"],
    "el": ["παράδειγμα.example"], "uk": ["приклад.example"], "hi": ["उदाहरण.example"], "fr": ["crème.example"],
    "es": ["mañana.example"], "cs": ["příklad.example"], "ar": ["مثال.example"], "th": ["ตัวอย่าง.example"],
}  # fmt: skip

MISTAKES = """\
email,name,language,country
ann.walker@example.org,Ann Walker,en,GB
juergen.mueller@bücher.example,Jürgen Müller,de,DE
no-at-sign.example.com,Élodie Lefèvre,fr,FR
maria.nunez@example.net,María Núñez,es,MX
sato.ren@例え.example,佐藤 蓮,ja,JP
two@signs@example.org,Ömer Şahin,tr,TR
asha.sharma@उदाहरण.example,आशा शर्मा,hi,IN
joao.araujo@-bad-.example,João Araújo,pt,BR
eleni.nikolaou@παράδειγμα.example,Ελένη Νικολάου,el,GR
,Nobody Home,en,GB
kim.minjun@example.com,김 민준,ko,KR
noa.cohen@example.org,נועה כהן,he,IL
"""


def pairs(words: str) -> list[tuple[str, str]]:
    """``"Ann/ann"`` as ``("Ann", "ann")``."""
    return [(name, ascii_name) for name, _, ascii_name in (word.partition("/") for word in words.split())]


def recipients() -> list[tuple[str, str, str, str]]:
    """Rows of email, name, language and country; every mailbox once."""
    chance = random.Random(2026)
    rows: list[tuple[str, str, str, str]] = []
    seen: set[str] = set()
    while len(rows) < HOW_MANY:
        language, country, given_names, family_names = chance.choice(PEOPLE)
        given, given_ascii = chance.choice(pairs(given_names))
        family, family_ascii = chance.choice(pairs(family_names))
        local = f"{given_ascii}.{family_ascii}"
        if chance.random() < 0.1:
            local += "+news"
        domain = chance.choice(IDN[language] if language in IDN and chance.random() < 0.3 else PLAIN)
        email = f"{local}@{domain}"
        number = 1
        while email in seen:
            number += 1
            email = f"{local}{number}@{domain}"
        seen.add(email)
        if language in FAMILY_FIRST:
            name = f"{family} {given}"
        elif chance.random() < 0.05:
            name = f"{family}, {given}"  # a comma has to be quoted in a header and in this file
        else:
            name = f"{given} {family}"
        rows.append((email, name, language, country))
    return rows


if __name__ == "__main__":
    with (HERE / "recipients.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["email", "name", "language", "country"])
        writer.writerows(recipients())
    (HERE / "recipients-with-mistakes.csv").write_text(MISTAKES, encoding="utf-8")
