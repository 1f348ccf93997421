package link

import "x0tta6bl4/mesh"

// Patient reports whether a hello of the neighbour's that asks for nothing can as well be taken in when the next of ours
// is due: nothing is in doubt and no answer is waited for, or nobody has been heard for long.
func (m *Machine) Patient() bool {
	switch m.status.State {
	case mesh.LinkUp:
		return m.mtu.patient()
	case mesh.LinkDown:
		return !m.now.Before(m.slowAt)
	}
	return false
}

// patient reports whether the search asks for nothing but what a regular hello answers.
func (p *pathMTU) patient() bool {
	switch p.phase {
	case mtuDisabled:
		return true
	case mtuComplete: // a first confirmation rides with a regular hello
		return p.tries <= 1
	case mtuError:
		return p.tries == 0
	}
	return false
}
