package daemon

import (
	"x0tta6bl4/host/disk"
)

// upgrades lead the state directory from each format to the next, the first from disk.First. A format changes only if
// what an older program would make of the files is wrong; a new file or a new key in one is no new format.
var upgrades []disk.Step

// openState opens a state directory, after its upgrade if it is older than this program.
func openState(path string) (*disk.Dir, error) { return disk.Open(path, upgrades...) }

// StateFormat returns the format of the state directory that this program writes, the newest that it reads.
func StateFormat() int { return disk.First + len(upgrades) }
