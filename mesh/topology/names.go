package topology

import (
	"strconv"
	"strings"

	"x0tta6bl4/mesh"
)

// namer makes unique node names of labels.
type namer struct{ taken map[string]bool }

func newNamer() *namer { return &namer{taken: map[string]bool{}} }

// name returns the slug of a label, with a number behind it if it is taken.
func (n *namer) name(label string) mesh.NodeID {
	base := slug(label)
	name := base
	for i := 2; n.taken[name]; i++ {
		end := "-" + strconv.Itoa(i)
		name = strings.TrimRight(base[:min(len(base), mesh.MaxName-len(end))], "-") + end
	}
	n.taken[name] = true
	return mesh.MustNodeID(name)
}

// plain spells letters that names of places in our maps have and host names have not.
var plain = strings.NewReplacer("ä", "ae", "ö", "oe", "ü", "ue", "ß", "ss", "å", "a", "á", "a", "à", "a", "â", "a", "ã", "a",
	"ç", "c", "č", "c", "é", "e", "è", "e", "ê", "e", "ë", "e", "ě", "e", "í", "i", "î", "i", "ï", "i", "ñ", "n", "ó", "o", "ô", "o", "õ", "o",
	"ø", "o", "ř", "r", "š", "s", "ú", "u", "û", "u", "ý", "y", "ž", "z")

// slug turns any label into a valid node name.
func slug(label string) string {
	label = plain.Replace(strings.ToLower(label))
	var b strings.Builder
	for i := 0; i < len(label) && b.Len() < mesh.MaxName; i++ {
		c := label[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			b.WriteByte(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	if s := strings.TrimRight(b.String(), "-"); s != "" {
		return s
	}
	return "node"
}
