// Package plugin holds the types that a GoatKit plugin and its host exchange: the registration, the resource
// request, and the host API.
//
// A plugin imports this package for the types and [grpcutil] to be served:
//
//	func main() { grpcutil.ServePlugin(&MyPlugin{}) }
//
// The module is a drop-in for GoatFlow's packages of the same import paths: programs written against them compile
// unchanged. In a plugin's go.mod:
//
//	require github.com/goatkit/goatflow v0.1.0
//	replace github.com/goatkit/goatflow => ../sdk-go
//
// Package [plugintest] tests a plugin without a host.
//
// [plugintest]: https://pkg.go.dev/github.com/goatkit/goatflow/pkg/plugin/plugintest
// [grpcutil]: https://pkg.go.dev/github.com/goatkit/goatflow/pkg/plugin/grpcutil
package plugin
