// Package trust holds the formats and the pure rules of a trust domain: join tokens, the signed log of
// authorities, the roots that follow from it, the rules an X.509-SVID of a node must keep, and the messages by
// which a node joins or renews. Whoever decides and whoever acts uses the same ones. Nothing here reads a
// clock, a file or a random source. All numbers are big endian.
//
// # Token
//
// One line of text: "x0t1-", then lower-case base32 (RFC 4648 §6, no padding) of
//
//	u16  bytes that follow the head
//	u16  first 2 bytes of SHA-256("x0t1-" ‖ the u16 above): tells a typing error in the head from a lost tail
//	u8 n, n bytes  trust domain
//	u8 n, n bytes  node the token admits
//	u8 n, n bytes  authority that made it and alone redeems it
//	32   domain key (ed25519)
//	u8 n, n bytes  secret, 16 to 32 bytes
//	u64  expiry, seconds since 1970
//	u8 count, then for each: u8 n, n bytes   addresses (host:port)
//	…    ignored
//	4    first 4 bytes of SHA-256("x0t1-" ‖ all above)
//
// # Authority log
//
//	"x0tl"  u8 version (1)  then entries, each: u32 length ‖ entry
//
//	entry:  u8 kind (1 establish, 2 add authority, 3 revoke authority)
//	        u64 sequence, from 1 without gaps
//	        32  SHA-256 of the signed part of the entry before; zero in the first
//	        u64 time, milliseconds since 1970
//	        u32 n, n bytes  body
//	        ---- the signed part ends here; what is signed is "x0t-log/1\x00" ‖ signed part
//	        u8 count, then for each signature: 32 signer ‖ u8 n, n bytes
//
//	establish:         u8 n, n bytes trust domain ‖ 32 domain key
//	add authority:     u8 n, n bytes node ‖ u16 n, n bytes CA certificate (DER) ‖ u16 n, n bytes JWT key (PKIX DER)
//	revoke authority:  32 SHA-256 of the CA certificate
//
// A signer is the SHA-256 of the domain key (its signature is ed25519) or of an authority's CA certificate (its
// signature is ECDSA over SHA-256, ASN.1). An unknown kind is refused: what cannot be understood cannot be obeyed.
//
// # Checkpoint of the shared state
//
//	"x0tc"  u8 version (1)  32 authority (SHA-256 of its CA certificate)
//	u32 n, n times 32  batches: SHA-256 of what the author of each signed; ascending, none twice, at most 4096
//	---- the signed part ends here; what is signed is "x0t-checkpoint/1\x00" ‖ signed part
//	u8 n, n bytes  signature with the key of the CA certificate (ECDSA over SHA-256, ASN.1); nothing behind it
//
// # Join and renewal
//
// In clear over TCP the client begins with
//
//	"x0tj"  u8 version (1)  u8 purpose (1 join, 2 renew; bit 7: already relayed once)  u8 n, n bytes authority
//
// and then speaks TLS 1.3 with that authority (ALPN x0t-join/1); a member that is another node carries the bytes
// without reading them. Ahead of its TLS bytes the answering side sends one byte: 0 go on, 1 the authority
// cannot be reached from here, 2 busy. Inside TLS each message is u32 length ‖ body:
//
//	greeting (authority):  u64 its clock, ms ‖ u32 n, n bytes authority log
//	request (client):      u8 n, n bytes node ‖ u16 n, n bytes CSR (PKCS #10, DER)
//	                       then, to join only: 32 token key ‖ 64 signature
//	reply (authority):     u8 code (0 done) ‖ u16 n, n bytes text
//	                       then, if done: u8 count, each u16 n, n bytes chain (DER, leaf first)
//	                       u8 count, each u8 n, n bytes neighbours' addresses
//
// The token key is an ed25519 key made from the token's secret; it signs the TLS exporter of this very channel
// and the request (see [JoinProof]). So the secret never leaves the client, a proof is worth nothing on another
// channel, and what the authority stores cannot be used to join.
package trust
