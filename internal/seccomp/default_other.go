//go:build !amd64 && !arm64

package seccomp

const defaultInstructions = ""

var defaultSwitches = [...]Switch{} //nolint:gochecknoglobals // a table
