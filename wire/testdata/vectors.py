#!/usr/bin/env python3
"""Prints the golden vectors of package wire as "name hex" lines: python3 vectors.py > vectors.txt

Nothing here shares code with the Go implementation: SipHash-2-4, HKDF-Expand (RFC 5869), ECDSA (RFC 6979) and AES-256-GCM
(FIPS 197, SP 800-38D) are written out below from their specifications, checked against published test cases.
"""
import hashlib
import hmac
import os
from struct import pack

M64 = (1 << 64) - 1


def siphash(key, msg):
    def rotl(x, n):
        return (x << n | x >> (64 - n)) & M64

    k0, k1 = (int.from_bytes(key[i:i + 8], "little") for i in (0, 8))
    v = [k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573]

    def rounds(n):
        for _ in range(n):
            v[0] = v[0] + v[1] & M64
            v[1] = rotl(v[1], 13) ^ v[0]
            v[0] = rotl(v[0], 32)
            v[2] = v[2] + v[3] & M64
            v[3] = rotl(v[3], 16) ^ v[2]
            v[0] = v[0] + v[3] & M64
            v[3] = rotl(v[3], 21) ^ v[0]
            v[2] = v[2] + v[1] & M64
            v[1] = rotl(v[1], 17) ^ v[2]
            v[2] = rotl(v[2], 32)

    padded = msg + bytes(7 - len(msg) % 8) + bytes([len(msg) & 255])
    for i in range(0, len(padded), 8):
        m = int.from_bytes(padded[i:i + 8], "little")
        v[3] ^= m
        rounds(2)
        v[0] ^= m
    v[2] ^= 0xff
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def hkdf_expand(prk, info, n):
    out, t, i = b"", b"", 1
    while len(out) < n:
        t = hmac.new(prk, t + info + bytes([i]), hashlib.sha256).digest()
        out, i = out + t, i + 1
    return out[:n]


def xtime(a):
    return a << 1 ^ (0x11b if a & 0x80 else 0)


def gmul(a, b):
    p = 0
    while b:
        if b & 1:
            p ^= a
        a, b = xtime(a), b >> 1
    return p


def make_sbox():
    box = []
    for x in range(256):
        inv = next((y for y in range(256) if gmul(x, y) == 1), 0)
        s = 0
        for i in range(8):
            s |= (sum(inv >> (i + k & 7) & 1 for k in (0, 4, 5, 6, 7)) + (0x63 >> i) & 1) << i
        box.append(s)
    return box


SBOX = make_sbox()


def aes256(key, block):
    w = [list(key[i:i + 4]) for i in range(0, 32, 4)]
    rcon = 1
    for i in range(8, 60):
        t = list(w[i - 1])
        if i % 8 == 0:
            t = [SBOX[b] for b in t[1:] + t[:1]]
            t[0] ^= rcon
            rcon = xtime(rcon)
        elif i % 8 == 4:
            t = [SBOX[b] for b in t]
        w.append([a ^ b for a, b in zip(w[i - 8], t)])
    keys = [sum(w[4 * r:4 * r + 4], []) for r in range(15)]
    s = [a ^ b for a, b in zip(block, keys[0])]
    for r in range(1, 15):
        s = [SBOX[b] for b in s]
        s = [s[(i + 4 * (i % 4)) % 16] for i in range(16)]
        if r < 14:
            mixed = []
            for c in range(0, 16, 4):
                a = s[c:c + 4]
                for i in range(4):
                    mixed.append(gmul(a[i], 2) ^ gmul(a[(i + 1) % 4], 3) ^ a[(i + 2) % 4] ^ a[(i + 3) % 4])
            s = mixed
        s = [a ^ b for a, b in zip(s, keys[r])]
    return bytes(s)


def ghash(h, data):
    y = 0
    for i in range(0, len(data), 16):
        y ^= int.from_bytes(data[i:i + 16].ljust(16, b"\0"), "big")
        z, v = 0, h
        for k in range(127, -1, -1):
            if y >> k & 1:
                z ^= v
            v = v >> 1 ^ (0xe1 << 120 if v & 1 else 0)
        y = z
    return y


def aes256_gcm(key, nonce, plain, aad):
    h = int.from_bytes(aes256(key, bytes(16)), "big")
    out = b""
    for i in range(0, len(plain), 16):
        stream = aes256(key, nonce + pack(">I", 2 + i // 16))
        out += bytes(a ^ b for a, b in zip(plain[i:i + 16], stream))

    def pad(b):
        return b + bytes(-len(b) % 16)

    s = ghash(h, pad(aad) + pad(out) + pack(">QQ", 8 * len(aad), 8 * len(out)))
    tag = s ^ int.from_bytes(aes256(key, nonce + pack(">I", 1)), "big")
    return out + tag.to_bytes(16, "big")


def self_check():
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "siphash24.txt"), encoding="ascii") as f:
        for n, line in enumerate(f):  # vectors of the SipHash authors
            assert siphash(bytes(range(16)), bytes(range(n))).to_bytes(8, "little").hex() == line.strip(), n
    # RFC 5869 A.1
    prk = bytes.fromhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")
    assert hkdf_expand(prk, bytes(range(0xf0, 0xfa)), 42).hex().startswith("3cb25f25faacd57a90434f64d0362f2a")
    # FIPS 197 C.3
    assert aes256(bytes(range(32)), bytes.fromhex("00112233445566778899aabbccddeeff")).hex() == "8ea2b7ca516745bfeafc49904b496089"
    # GCM specification (McGrew, Viega), test case 16
    k = bytes.fromhex("feffe9928665731c6d6a8f9467308308" * 2)
    p = bytes.fromhex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525"
                      "b16aedf5aa0de657ba637b39")
    c = aes256_gcm(k, bytes.fromhex("cafebabefacedbaddecaf888"), p, bytes.fromhex("feedfacedeadbeef" * 2 + "abaddad2"))
    assert c[-16:].hex() == "76fc6ece0f4e1768cddf8853bb2d551b", c.hex()


def show(name, b):
    print(name, b.hex())


def name(n):
    return bytes([len(n)]) + n.encode()


def frame(kind, hop, labels, flags, session, counter, payload, key):
    head = pack(">BBBBII", 0x30 | kind, hop, len(labels), flags, session, counter & 0xffffffff)
    raw = b"".join(pack(">H", l) for l in labels)
    covered = payload[:16] if kind in (0, 3) else payload
    size = 20 + len(raw) + len(payload)
    mac = siphash(key, head + pack(">IH", counter >> 32, size) + raw + covered)
    return head + mac.to_bytes(8, "big") + raw + payload


def signed(prefix, body, sig):
    return prefix + pack(">I", len(body)) + body + pack(">H", len(sig)) + sig


def entry(kind, gone, key, rest):
    return pack(">BBQH", kind, gone, 1800000000123 << 16 | 7, len(key)) + key + rest


def merkle(leaves):
    """RFC 9162 2.1.1"""
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\1" + merkle(leaves[:k]) + merkle(leaves[k:])).digest()


def merkle_check():
    # test vectors of Certificate Transparency's own implementation
    leaves = [bytes.fromhex(h) for h in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")]
    for n, root in ((1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
                    (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
                    (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328")):
        assert merkle(leaves[:n]).hex() == root, n


P256 = 2**256 - 2**224 + 2**192 + 2**96 - 1
N256 = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551
G256 = (0x6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296,
        0x4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5)
RFC6979_KEY = 0xc9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721


def p256_add(a, b):
    if a is None or b is None:
        return a or b
    if a == b:
        m = 3 * (a[0] * a[0] - 1) * pow(2 * a[1], -1, P256)
    elif a[0] == b[0]:
        return None
    else:
        m = (b[1] - a[1]) * pow(b[0] - a[0], -1, P256)
    x = (m * m - a[0] - b[0]) % P256
    return x, (m * (a[0] - x) - a[1]) % P256


def p256_x(k):
    q, p = None, G256
    while k:
        q, p, k = (p256_add(q, p) if k & 1 else q), p256_add(p, p), k >> 1
    return q[0]


def ecdsa_sign(d, msg):
    """RFC 6979 3.2 with P-256 and SHA-256; no nonce of the vectors is refused by step h.3"""
    h = hashlib.sha256(msg).digest()
    z = int.from_bytes(h, "big")
    seed = d.to_bytes(32, "big") + (z % N256).to_bytes(32, "big")
    v, k = b"\1" * 32, b"\0" * 32
    for tag in (b"\0", b"\1"):
        k = hmac.new(k, v + tag + seed, hashlib.sha256).digest()
        v = hmac.new(k, v, hashlib.sha256).digest()
    nonce = int.from_bytes(hmac.new(k, v, hashlib.sha256).digest(), "big")
    r = p256_x(nonce) % N256
    return r, pow(nonce, -1, N256) * (z + r * d) % N256


def ecdsa_check():
    # RFC 6979 A.2.5
    assert ecdsa_sign(RFC6979_KEY, b"sample") == (
        0xefd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716,
        0xf7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8)


def der(tag, b):
    return pack(">BB", tag, len(b)) + b


def der_int(v):
    return der(2, v.to_bytes(v.bit_length() // 8 + 1, "big"))


def checkpoint(authority, batches, key):
    body = b"x0tc\1" + authority + pack(">I", len(batches)) + b"".join(sorted(batches))
    r, s = ecdsa_sign(key, b"x0t-checkpoint/1\0" + body)
    sig = der(0x30, der_int(r) + der_int(s))
    return body + pack(">B", len(sig)) + sig


def state_vectors(svid):
    merkle_check()
    dots = pack(">H", 2) + name("a") + pack(">QQ", 1, 9) + name("b") + pack(">QQ", 2, 1 << 40)
    entries = [entry(1, 0, b"config/mtu", pack(">I", 4) + b"1400"), entry(1, 1, b"\0\xff", b""),
               entry(2, 0, b"hits", pack(">QQ", 12, 5)), entry(3, 0, b"tags", pack(">H", 3) + b"red" + dots),
               entry(3, 1, b"tags", pack(">H", 0) + dots), entry(4, 0, b"policy", dots + pack(">I", 0)),
               entry(4, 1, b"policy", pack(">H", 0))]
    for i, e in enumerate(entries):
        show("entry-%d" % i, e)
    head = name("a") + pack(">QQH", 3, 100, len(entries)) + svid
    body = head + merkle(entries)
    batch = b"x0t-batch/1\0" + pack(">I", len(body)) + body
    show("batch-input", batch)
    ecdsa_check()
    show("checkpoint", checkpoint(svid, [b"\xff" * 32, hashlib.sha256(batch).digest()], RFC6979_KEY))
    show("checkpoint-empty", checkpoint(svid, [], RFC6979_KEY))
    sig = pack(">H", 9) + b"signature"

    def leaves(*index):
        return pack(">H", len(index)) + b"".join(pack(">HI", i, len(entries[i])) + entries[i] for i in index)

    # the tree of 7: ((0 1) (2 3)) ((4 5) 6)
    show("piece-whole", head + sig + leaves(*range(7)))
    part = head + sig + leaves(2, 6) + merkle(entries[:2]) + merkle(entries[3:4]) + merkle(entries[4:6])
    show("piece-part", part)

    def message(kind, b):
        return pack(">IB", 1 + len(b), kind) + b

    ref = bytes(range(24))
    show("state-root", message(1, svid + pack(">QBQ", 1 << 33, 1, 1800000000123)))
    show("root-first", message(1, svid + pack(">Q", 1 << 33)))
    show("state-nodes", message(2, pack(">H", 2) + b"\0" + pack(">H", 0x8001) + svid + svid[::-1] + b"\3\xab\xc0" + pack(">H", 0)))
    show("state-items", message(3, pack(">H", 2) + b"\1\xf0" + pack(">H", 2) + ref + bytes(24) + b"\2\x12" + pack(">H", 0)))
    show("state-offer", message(4, pack(">H", 1) + ref))
    show("state-want", message(5, pack(">H", 2) + bytes(24) + ref))
    show("state-piece", message(6, part))
    show("state-heads", message(7, dots))
    show("state-grown", message(9, pack(">H", 1) + name("a") + pack(">QQ", 1, 9)))
    show("state-fetch", message(8, pack(">H", 1) + name("a") + pack(">QQ", 1, 0)))
    show("state-ask", message(10, pack(">H", 2) + svid + svid[::-1]))
    show("state-chain", message(11, b"\2" + b"\0\4leaf" + b"\0\6issuer"))


def main():
    self_check()
    key, secret = bytes(range(16)), bytes(range(32))
    seq64 = bytes(range(64))

    ctx = b"\x01\x02"
    for s in (b"spiffe://lab.internal/node/a", b"spiffe://lab.internal/node/b"):
        ctx += pack(">H", len(s)) + s
    show("exporter-context", ctx + pack(">H", 3))
    for info in ("c2s mac", "s2c mac"):
        show(info.replace(" ", "-"), hkdf_expand(secret, info.encode(), 16))
    for info in ("c2s aead", "s2c aead", "next epoch"):
        show(info.replace(" ", "-"), hkdf_expand(secret, info.encode(), 32))

    inner = pack(">BBH", 0, 6, 0)
    probe = pack(">QqBB", 0x0102030405060708, -2, 3, 2) + pack(">HH", 7, 0xfffe)
    show("inner", inner)
    show("probe", probe)
    show("probe-counts", probe[:17] + b"\0" + pack(">III", 0xdeadbeef, 300, 2**32 - 16))
    show("inner-path", pack(">BBH", 1, 31 << 3 | 2, 0))
    show("inner-partial", pack(">BBH", 0, 1 << 3 | 1, 1))
    head = pack(">IQ", 0xa1b2c3d4, 0x100000002)
    data = head + aes256_gcm(secret, head, inner + seq64, head)
    show("data", data)
    k = hkdf_expand(secret, b"c2s aead", 32)
    for _ in range(2):  # epochs
        k = hkdf_expand(k, b"next epoch", 32)
    head = pack(">IQ", 0xa1b2c3d4, 2 << 22 | 5)
    show("data-epoch", head + aes256_gcm(k, head, inner + seq64, head))

    hello = pack(">IQIQIIIIB", 9, 1 << 40, 8, (1 << 40) + 5, 1234, 7, 2, 50000, 1)
    error = pack(">BHH", 4, 0x1234, 1280) + seq64[:16] + b"\x02"
    handshake = pack(">B3xQ", 1, 0x1122334455667788) + seq64
    show("hello", hello)
    show("error", error)
    show("handshake", handshake)
    show("frame-data", frame(0, 1, [0x0102, 0xfffe, 3], 0x21, 0xdeadbeef, 0x100000007, data, key))
    show("frame-hello", frame(1, 0, [], 0, 1, 0, hello, key))
    show("frame-error", frame(2, 2, [5, 6], 0, 2, 0xffffffff, error, key))
    show("frame-handshake", frame(3, 0, [4], 0x08, 3, 1 << 63, handshake, key))
    show("frame-challenge", frame(5, 0, [], 0, 4, 5, seq64[:16], key))
    whole = frame(3, 0, [4], 0x08, 0, 0, handshake, key)
    body, cut = whole[20:], (len(whole) - 20 + 1) // 2
    for i, piece in enumerate((body[:cut], body[cut:])):
        show("frame-part-%d" % i, frame(4, 0, [], 0x08, 6, 7 + i, pack(">IBBBBBx", 99, i, 3, 0, 1, 0x08) + piece, key))

    def message(kind, b):
        return pack(">IB", 1 + len(b), kind) + b

    svid = bytes(range(0x40, 0x60))
    entry = name("relay-1") + pack(">QQ", 11, 12) + svid + pack(">Q", 13)
    show("msg-link-open", message(1, pack(">BIHIHIQ", 1, 0xcafef00d, 77, 50000, 1452, 5, 1 << 42)))
    show("msg-peer-open", message(2, pack(">BIHQ", 1, 0xcafef00d, 1360, 1 << 42)))
    show("msg-record", message(3, b"rec"))
    show("msg-lsa", message(4, b"lsa"))
    show("msg-log", message(5, b"log"))
    show("msg-summary", message(7, pack(">I", 1) + entry))
    show("msg-digest", message(6, hashlib.sha256(b"x0t-summary/1\0" + pack(">I", 1) + entry).digest()))
    show("msg-record-request", message(8, pack(">I", 2) + svid + bytes(32)))
    show("msg-bye", message(9, name("going away")))

    salt = bytes(range(0x60, 0x70))
    domain = hmac.new(salt, b"x0t-beacon/1\0" + b"example.mesh", hashlib.sha256).digest()[:16]
    show("beacon", b"x0tb" + pack(">BBHQ", 1, 1, 7420, 0x1122334455667788) + salt + domain)

    link = name("b") + pack(">HHIBHQBB", 3, 9, 1500, 4, 1452, 10 ** 9, 0, 0)
    link += name("c-2") + pack(">HHIBHQBBII", 70, 1, (1 << 24) - 1, 1, 1280, 10 ** 6, 1, 2, 5, 6)
    lsa = name("a") + pack(">QQQQI", 1, 2, 3, 1800000000123, 3600) + svid + pack(">IH", 7, 2) + link
    show("lsa", signed(b"x0t-lsa/1\0", lsa, b"signature"))
    record = name("a") + pack(">QQQ", 1, 4, 1800000000123) + b"\x02" + pack(">H", 4) + b"leaf" + pack(">H", 2) + b"ca"
    record += pack(">IB", 2, 2) + name("192.0.2.1:7420") + name("[2001:db8::1]:7420")
    show("record", signed(b"x0t-record/1\0", record, b"signature"))
    state_vectors(svid)


main()
