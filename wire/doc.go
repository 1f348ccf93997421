// Package wire holds every byte that nodes exchange and the pure functions on those bytes: append and parse,
// label swap, link MAC, end-to-end sealing, key schedule, replay window. It does no I/O, knows no clock and
// keeps no global state.
//
// All integers are big endian. Parsers check bounds and ranges, never panic, ignore trailing bytes unless the
// format says otherwise, ignore reserved bits (senders write zero) and alias their input where they return byte
// slices. Functions on the packet path (ParseFrame, SwapLabel, Seal, Check, AppendFrame into spare capacity,
// SealData, OpenData, Window) do not allocate and return bare sentinel errors.
//
// # Link frame
//
//	 0               1               2               3
//	+-------+-------+---------------+---------------+---------------+
//	|0 0 1 1| type  | hop index i   | labels n ≤ 32 | flags         |
//	+-------+-------+---------------+---------------+---------------+
//	| receiver's link session index                                 |
//	+---------------------------------------------------------------+
//	| link counter, low 32 bits                                     |
//	+---------------------------------------------------------------+
//	| link MAC (SipHash-2-4), 64 bits                               |
//	|                                                               |
//	+-------------------------------+-------------------------------+
//	| label 0                       | label 1                 … n-1 |
//	+-------------------------------+-------------------------------+
//	| payload …                                                     |
//
// Types: 0 data, 1 hello, 2 error, 3 handshake, 4 part, 5 challenge, 6 challenge reply. Flags: bit 0 protected,
// 1 suspect, 2 repaired, 3 probe (not set: a probe looks like any data), bits 4 and 5 ECN (RFC 3168 code point), 6 and
// 7 reserved.
//
// The labels do not hold the source's own first link: a path of m hops puts m-1 labels in the frame, and the
// destination sees i = n. A relay sends by the link label[i] names, overwrites label[i] with its own label of
// the link the frame came in on and adds one to i. So at every node the way back is: out by the link the frame
// came in on, with the consumed labels 0..i-1 reversed.
//
// The MAC is SipHash-2-4 with a 16-byte key per link session and direction (key words little endian, as in the
// SipHash paper), its 64-bit result written big endian, over
//
//	bytes 0..11 ‖ link counter, high 32 bits ‖ frame length (16 bits) ‖ labels ‖ payload prefix
//
// where the prefix is the first 16 payload bytes for data and handshake frames, whose payload is protected end
// to end, and the whole payload for every other type. The receiver rebuilds the high counter half from the
// newest counter it has accepted (ExtendCounter).
//
// # Payload of a data frame
//
//	receiver's session index (4) ‖ counter (8) ‖ ciphertext ‖ tag (16)
//
// The first 12 bytes are both the additional data and the nonce. The nonce thus is the counter behind a fixed
// field that is constant for a key, the construction of RFC 5116 §3.2: an index belongs to the keys of exactly one session and
// direction, which share its counters. The plaintext begins with
//
//	kind (1) ‖ class (1) ‖ flags (2)
//
// Kinds: 0 IP packet, 1 probe request, 2 probe reply, 3 keepalive. Class: bits 0 and 1 ECN, bit 2 protected, bits 3 to 7
// the sender's number of the path (0: counted for none). Flags: bit 0, the packet's TCP or UDP checksum is
// 0, and whoever opens it makes it anew. Behind them a probe has
//
//	id (8) ‖ sender's clock (8) ‖ path number (1) ‖ label count (1) ‖ labels (2 each, at most 32)
//	session index (4) ‖ frames sent by that path (4) ‖ frames received of them (4)
//
// The three counts may be missing together. Index and frames received are 0 in a request.
//
// # Hello (41 bytes)
//
//	seq (4) ‖ sent at, µs of the sender's clock (8) ‖ newest seq heard (4) ‖ its sent-at (8) ‖ µs since it
//	came (4) ‖ hellos heard (4) ‖ lowest seq they are counted from (4) ‖ interval, µs (4) ‖ flags (1)
//
// Flag bit 0: a probe, answer at once. Bit 1: the sender echoes padded hellos. A padded hello is the hello before it, with
// the same seq and a later sent-at, and zero bytes behind it up to the frame size that is tried; it counts as no hello
// of its own, and only its echo says that it came.
//
// # Error (22 bytes)
//
//	code (1) ‖ label that failed (2) ‖ MTU (2) ‖ first 16 payload bytes of the cause ‖ hop index of the reporter (1)
//
// # Handshake
//
//	flags (1) ‖ reserved (3) ‖ conversation (8) ‖ QUIC datagram (1..1252)
//
// Flag bit 0: sent by the initiator of the conversation.
//
// # Challenge and challenge reply
//
//	nonce (16), returned unchanged
//
// # Part
//
//	id (4) ‖ index 0 or 1 (1) ‖ type (1) ‖ hop index (1) ‖ labels n (1) ‖ flags (1) ‖ reserved (1) ‖ bytes
//
// A frame larger than its next link carries crosses it as two part frames. The bytes of both, joined, are the
// frame behind its 20-byte header; type, hop index, n and flags are those of the frame and stand in both parts.
// Only data, error and handshake frames are split. Session index, counter and MAC are the part frames' own.
//
// # Beacon (48 bytes)
//
// Not a frame, and on a port of its own: UDP 7421, to ff12::d078:3074 and to link-local addresses.
//
//	"x0tb" ‖ version 1 (1) ‖ flags (1) ‖ port of the sender's links (2) ‖ nonce (8) ‖ salt (16) ‖ domain hash (16)
//
// Flag bit 0: an answer. The domain hash is the first half of HMAC-SHA-256 over "x0t-beacon/1\x00" ‖ trust domain, with
// the salt as key.
//
// # Control messages
//
// On a QUIC stream: length of what follows (4, at most 256 KiB) ‖ type (1) ‖ body. Unknown types are skipped.
//
//	1 link open       version (1) ‖ receive index (4) ‖ label (2) ‖ hello interval, µs (4) ‖ MTU (2) ‖ capabilities (4) ‖ boot (8)
//	2 peer open       version (1) ‖ receive index (4) ‖ MTU (2) ‖ boot (8)
//	3 record          a signed node record, whole
//	4 LSA             a signed LSA, whole
//	5 authority log   opaque here
//	6 digest          SHA-256 of the summary (Summary.Digest)
//	7 summary         count (4) ‖ entries: name ‖ boot (8) ‖ seq (8) ‖ SVID hash (32) ‖ record seq (8)
//	8 record request  count (4) ‖ SVID hashes (32 each)
//	9 bye             reason: length (1) ‖ UTF-8
//
// A name is its length (1) and its bytes.
//
// # Signed objects
//
//	prefix ‖ body length (4) ‖ body ‖ signature length (2) ‖ signature
//
// The signature covers everything before its length. Unknown bytes at the end of the body are ignored, but
// signed and flooded; bytes behind the signature are refused, since nobody vouches for them.
//
//	LSA, prefix "x0t-lsa/1\x00":
//	    origin ‖ incarnation (8) ‖ boot (8) ‖ seq (8) ‖ time, Unix ms (8) ‖ lifetime, s (4) ‖ SVID hash (32) ‖
//	    capabilities (4) ‖ link count (2) ‖ links, ascending by label:
//	    neighbour ‖ label (2) ‖ neighbour's label (2) ‖ cost (4) ‖ quality (1) ‖ MTU (2) ‖ capacity, bit/s (8) ‖
//	    flags (1, bit 0 suspect) ‖ group count (1) ‖ groups (4 each, ascending)
//	node record, prefix "x0t-record/1\x00":
//	    origin ‖ incarnation (8) ‖ seq (8) ‖ time, Unix ms (8) ‖ certificate count (1) ‖ certificates: length (2)
//	    ‖ DER ‖ roles (4) ‖ address count (1) ‖ addresses: length (1) ‖ printable ASCII
//
// # Shared state
//
// Messages on a stream of their own: length of what follows (4, at most MaxStateMessage) ‖ type (1) ‖ body. Unknown types
// are skipped.
//
//	1 root    digest (32) ‖ entries (8) ‖ flags (1, bit 0 settled) ‖ the sender's clock, Unix ms (8); the first version ends
//	          behind entries
//	2 nodes   count (2) ‖ nodes: path ‖ which of 16 subtrees are not empty (2, bit i the i-th) ‖ their digests (32 each)
//	3 items   count (2) ‖ items: path ‖ count (2) ‖ refs (24 each): all that the sender holds below the path
//	4 offer   count (2) ‖ refs
//	5 want    count (2) ‖ refs
//	6 piece   a piece of a batch, whole
//	7 heads   dots: how far the sender's entries of these incarnations go
//	8 fetch   dots: a request for the batches of these incarnations that begin after these entries
//	9 grown   dots, as heads, of incarnations that the sender is still fetching; wants no answer
//	10 ask    count (2, at most 256) ‖ SVID hashes (32 each): a request for the chains of these leaves
//	11 chain  certificate count (1) ‖ certificates: length (2) ‖ DER, as in a node record
//
// A ref is the first 6 bytes of the hash of what an entry writes to, its hybrid time (8) and the first 10 bytes of its hash;
// dots are as in an entry, but at most 4096. A path is its number of nibbles (1, at most 32) and its bytes, the second half of the last zero if the number is odd.
// A piece is some entries of what their author signed together:
//
//	author ‖ incarnation (8) ‖ first (8) ‖ count n (2, at most 256) ‖ SVID hash (32) ‖ signature length (2) ‖ signature ‖
//	count k (2) ‖ k times: index (2, ascending, below n) ‖ length (4) ‖ entry
//	hashes (32 each): of the largest subtrees that hold none of the k, from left to right
//
// The signature covers "x0t-batch/1\x00" ‖ length of what follows (4) ‖ the piece from author to SVID hash ‖ root (32). The
// root is that of the Merkle tree of RFC 9162 §2.1.1 whose leaves are the n
// entries, each from its kind to its end. Entry i is the (first + i)-th of its author's incarnation:
//
//	kind (1) ‖ flags (1, bit 0 gone) ‖ hybrid time: Unix ms, then a counter (6 + 2) ‖ key length (2, 1 to 1024) ‖ key
//	kind 1, register      if not gone: length (4, at most 1 MiB) ‖ value
//	kind 2, counter       added (8) ‖ taken (8): all that its author ever did
//	kind 3, set           element length (2) ‖ element ‖ dots
//	kind 4, multi-value   dots ‖ if not gone: length (4) ‖ value
//
// Dots are a count (2, at most 1024) and as many: author ‖ incarnation (8) ‖ sequence (8), ascending, one for each author
// and incarnation. Unknown bytes at the end of an entry are ignored, but hashed.
//
// # Keys
//
// A session exports 32 bytes from its TLS 1.3 connection (RFC 8446 §7.5) with label "EXPORTER-x0t-1" and context
//
//	version 1 (1) ‖ purpose: 1 link, 2 end to end (1) ‖ client's SPIFFE ID: length (2), bytes ‖ server's ‖ lane (2)
//
// and expands them by HKDF-Expand (RFC 5869 §2.3, SHA-256) with the infos "c2s mac" and "s2c mac" (16 bytes, link)
// or "c2s aead" and "s2c aead" (32 bytes, end to end), where c is the side that opened the connection. An end-to-end key
// serves 2^22 counters, which are an epoch; the key of the next epoch is the expansion of the last with "next epoch".
package wire
