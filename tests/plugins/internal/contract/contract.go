// Package contract holds what all generations agree on.
package contract

import (
	"os"
	"path/filepath"

	plugin "github.com/hashicorp/go-plugin"
)

// Key is the name under which hosts dispense the plugin.
const Key = "gkplugin"

// Handshake is what host and plugin must agree on.
var Handshake = plugin.HandshakeConfig{
	ProtocolVersion:  1,
	MagicCookieKey:   "GOATKIT_PLUGIN",
	MagicCookieValue: "goatkit-v1",
}

// Executable is a path by which this program can be started again. One that runs from memory has no file.
func Executable() string {
	if path, err := os.Executable(); err == nil {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return "/proc/self/exe"
}

// Name is the registered name of this process: that of its executable.
func Name() string {
	return filepath.Base(os.Args[0])
}
