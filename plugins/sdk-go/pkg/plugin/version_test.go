package plugin

import (
	"os"
	"strings"
	"testing"
)

// Whoever installs the module by its README gets the version that it says it is.
func TestTheReadmeNamesThisVersion(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"require github.com/goatkit/goatflow v" + SDKVersion + "\n",
		"replace github.com/goatkit/goatflow => github.com/goatkit/plugin-host/plugins/sdk-go v" + SDKVersion + "\n",
		"plugins/sdk-go/v" + SDKVersion + "`",
	} {
		if !strings.Contains(string(readme), line) {
			t.Errorf("README.md lacks %q", line)
		}
	}
}
