"""Makes partial_ratio.tsv: scores of RapidFuzz's `fuzz.partial_ratio`.

    pip install rapidfuzz
    python partial_ratio.py > partial_ratio.tsv

The same version of the package always makes the same table. Rows of one query
stand together.
"""

import random
import sys

import rapidfuzz
from rapidfuzz.fuzz import partial_ratio

rng = random.Random(20240607)

KEYS = [
    "user:1",
    "user:12",
    "User:1:profile",
    "USER:1:SETTINGS",
    "users:active:count",
    "product:42:reviews",
    "product:42",
    "prodcut:7:price",
    "session:9f86d081884c7d65",
    "sess_2c26b46b68ffc68ff99b453c1d304134",
    "src/backend/memory/shard.rs",
    "src/backend/redis.rs",
    "tests/fuzzy_scores.rs",
    "api/v2/orders?page=3&sort=desc",
    "rate-limit:203.0.113.9",
    "GetUserById(1)",
    "café:menü:überblick",
    "пользователь:1",
    "用户:1:资料",
    "emoji:🦀:crab",
    "a key with spaces",
    "x",
]

QUERIES = [
    "user",  # within several keys
    "usr",  # a letter is missing
    "uesr:1",  # two letters are swapped, and as long as a key
    "usser",  # a letter too many
    "USER",
    "u",
    "1",
    "z",
    "prodct",
    "product:24",  # as long as a key
    "reviwes",
    "sesion",
    "9f86d0818",
    "shard.rs",
    "shrad",
    "backned/memroy",
    "fuzy_socres.rs",
    "203.0.113.90",
    "getuserbyid",
    "cafe:menu",
    "ползователь",
    "用户资料",
    "🦀crab",
    "product:42:reviews:page:3:sort:helpful",  # longer than most keys
    "src/backend/memory/shard.rs:src/backend/redis.rs:tests/fuzzy_scores.rs",
]


def text(alphabet, shortest, longest):
    return "".join(rng.choices(alphabet, k=rng.randint(shortest, longest)))


def random_pairs():
    """Few letters and all lengths: many windows score nearly the same."""
    for _ in range(60):
        yield text("ab", 1, 12), text("ab", 1, 12)
    for _ in range(50):
        yield text("abcd:", 2, 20), text("abcd:", 2, 40)
    for _ in range(20):
        length = rng.randint(2, 16)
        yield text("abcé", length, length), text("abcé", length, length)
    for _ in range(15):
        yield text("abc", 60, 70), text("abc", 50, 140)
    for _ in range(5):
        yield text("abüc", 129, 200), text("abüc", 100, 300)


def main():
    pairs = [(query, key) for query in QUERIES for key in KEYS]
    pairs += random_pairs()
    version = rapidfuzz.__version__
    print(f"# rapidfuzz {version}, fuzz.partial_ratio(query, key), by partial_ratio.py")
    print("# query\tkey\tscore")
    for query, key in pairs:
        print(query, key, repr(float(partial_ratio(query, key))), sep="\t")


sys.stdout.reconfigure(encoding="utf-8", newline="\n")
main()
