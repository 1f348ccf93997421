// Package api is how programs and people ask a running daemon: the JSON that goes over its unix socket, the
// handlers that answer, and the client that asks.
//
// Every call is HTTP/1.1 under /v1. Answers are one JSON value, except ping, trace, watch and log, which stream one JSON
// value a line (NDJSON) while they run, and snapshots. Field names are stable: fields are added, never renamed or given another meaning.
// Lengths of time are milliseconds in fields that end in _ms, moments are RFC 3339, amounts of data are bytes.
// A moment that has not come is left out; a length of time that was never measured is 0; a list is never null.
//
//	GET  /v1/status
//	GET  /v1/peers
//	GET  /v1/links
//	GET  /v1/paths?node=NAME
//	GET  /v1/identity
//	GET  /v1/counters
//	GET  /v1/ping?node=NAME[&count=N][&interval_ms=MS]   NDJSON: replies, then {"summary":…}
//	GET  /v1/trace?node=NAME                             NDJSON: hops
//	POST /v1/token   {"node":…,"ttl_ms":…,"replace":…,"addresses":[…]}
//	GET  /healthz                                        503 when the node is down
//
//	GET    /v1/kv?key=K                                  with Accept: application/octet-stream the bare value; 404 if there is none
//	PUT    /v1/kv?key=K                                  the body is the value, 1 MiB at most
//	DELETE /v1/kv?key=K
//	GET    /v1/kv/list[?prefix=P][&after=K][&limit=N][&keys=true]      one page; its field after is where the next goes on
//	GET    /v1/kv/watch[?prefix=P][&from=REVISION][&current=true]      NDJSON: {"freshness":…}, then changes as they come
//	GET    /v1/kv/log[?prefix=P][&limit=N]                             NDJSON: {"freshness":…}, then the newest changes
//	GET    /v1/state
//	GET    /v1/state/snapshot                            bytes; one that is torn tears the connection
//	POST   /v1/state/restore                             the body is a snapshot of any length
//	POST   /v1/state/settle                              this node knows all that there is; answers with its state
//
//	GET    /v1/config                                    what this node runs with, and where each value comes from
//	GET    /v1/config/shared                             what nodes share of it
//	PUT    /v1/config/shared?key=K[&node=NAME]           the body is YAML; for all nodes without a name
//	DELETE /v1/config/shared?key=K[&node=NAME]
//
// Keys, prefixes and values are any bytes: percent-encoded in a query, in JSON a string or {"base64":"…"}. Every answer of
// these says how fresh it is; a bare value does so in the header X0t-Freshness, a snapshot tells what it holds in the
// trailer X0t-Snapshot.
//
// An error is {"error":{"code":…,"message":…,"remedy":…}} with a fitting HTTP status. If a stream fails after it
// began, its last line is {"failure":{…}} with the same three fields.
//
// The socket is the access control: who may open it may do everything. A TCP listener, if one is configured, serves
// health and counters only, and only to requests that name a loopback host.
package api
