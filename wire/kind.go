package wire

// kindNames are the names of the control messages by their type byte, for counters.
var kindNames = [...]string{
	msgLinkOpen: "link_open", msgPeerOpen: "peer_open", msgRecord: "record", msgLSA: "lsa", msgLog: "log", msgDigest: "digest",
	msgSummary: "summary", msgRecordRequest: "record_request", msgBye: "bye",
}

// Kinds is how many values a message kind has: those of Kind are below it.
const Kinds = len(kindNames)

// Kind returns the place in 0 … Kinds-1 of a message of the given type byte; all types that this version does not know
// share 0.
func Kind(typ byte) int {
	if int(typ) < Kinds {
		return int(typ)
	}
	return 0
}

// KindName returns the name of a kind, such as "lsa".
func KindName(kind int) string {
	if kind <= 0 || kind >= Kinds {
		return "unknown"
	}
	return kindNames[kind]
}
