package plugin

// ResourceRequest is what a plugin asks for. The host's policy decides what it gets.
type ResourceRequest struct {
	// MemoryMB is a limit in MiB.
	MemoryMB int `json:"memory_mb,omitempty" yaml:"memory_mb,omitempty"`
	// CallTimeout, InitTimeout and ShutdownTimeout are Go durations such as "30s".
	CallTimeout string `json:"call_timeout,omitempty" yaml:"call_timeout,omitempty"`
	// InitTimeout bounds GKRegister and Init, each.
	InitTimeout string `json:"init_timeout,omitempty" yaml:"init_timeout,omitempty"`
	// ShutdownTimeout bounds Shutdown.
	ShutdownTimeout string `json:"shutdown_timeout,omitempty" yaml:"shutdown_timeout,omitempty"`
	// Permissions are what the plugin wants to be allowed.
	Permissions []Permission `json:"permissions,omitempty" yaml:"permissions,omitempty"`
	// MaxFileStorageBytes is a quota for the plugin's files.
	MaxFileStorageBytes int64 `json:"max_file_storage_bytes,omitempty" yaml:"max_file_storage_bytes,omitempty"`
}

// Permission is one thing a plugin wants to be allowed.
//
// Type is db, cache, http, email, config, plugin_call, file, article, ticket or entity; Access is read, write,
// readwrite or (entity) hard_delete; Scope limits it to tables, hosts, addresses, keys, plugins or entity types.
type Permission struct {
	// Type is what it is about, such as db.
	Type string `json:"type" yaml:"type"`
	// Access is how it is used; empty where the type has none.
	Access string `json:"access,omitempty" yaml:"access,omitempty"`
	// Scope limits it; empty for all of the type.
	Scope []string `json:"scope,omitempty" yaml:"scope,omitempty"`
}

// ResourcePolicy is what a host enforces. A limit of 0 per second or minute means unlimited.
type ResourcePolicy struct {
	// PluginName is whose policy it is.
	PluginName string `json:"plugin_name"`
	// Status is pending_review, approved, restricted or blocked.
	Status string `json:"status"`
	// MemoryMB is a limit in MiB.
	MemoryMB int `json:"memory_mb,omitempty"`
	// CallTimeout bounds a call, a Go duration.
	CallTimeout string `json:"call_timeout,omitempty"`
	// InitTimeout bounds GKRegister and Init, each.
	InitTimeout string `json:"init_timeout,omitempty"`
	// ShutdownTimeout bounds Shutdown.
	ShutdownTimeout string `json:"shutdown_timeout,omitempty"`
	// Permissions are what is granted.
	Permissions []Permission `json:"permissions,omitempty"`
	// MaxCallsPerSecond bounds calls of other plugins.
	MaxCallsPerSecond int `json:"max_calls_per_second,omitempty"`
	// MaxDBQueriesPerMin bounds statements.
	MaxDBQueriesPerMin int `json:"max_db_queries_per_min,omitempty"`
	// MaxHTTPReqPerMin bounds outgoing requests.
	MaxHTTPReqPerMin int `json:"max_http_req_per_min,omitempty"`
	// MaxFileStorageBytes is a quota for the plugin's files.
	MaxFileStorageBytes int64 `json:"max_file_storage_bytes,omitempty"`
}

// DefaultResourcePolicy is the policy of a plugin that nobody has reviewed.
func DefaultResourcePolicy(pluginName string) ResourcePolicy {
	return ResourcePolicy{
		PluginName:      pluginName,
		Status:          "pending_review",
		MemoryMB:        256,
		CallTimeout:     "30s",
		InitTimeout:     "10s",
		ShutdownTimeout: "5s",
		Permissions: []Permission{
			{Type: "db", Access: "read"},
			{Type: "cache", Access: "readwrite"},
			{Type: "file", Access: "readwrite"},
		},
		MaxCallsPerSecond:  100,
		MaxDBQueriesPerMin: 600,
		MaxHTTPReqPerMin:   60,
	}
}

// PluginManifest is the content of plugin.yaml.
type PluginManifest struct {
	// Name is the plugin's name.
	Name string `yaml:"name" json:"name"`
	// Version is a semantic version.
	Version string `yaml:"version" json:"version"`
	// Runtime is grpc for a native plugin.
	Runtime string `yaml:"runtime" json:"runtime"`
	// Binary is the program's path in the package; the name without it.
	Binary string `yaml:"binary" json:"binary,omitempty"`
	// WASMFile is the module of a plugin of the runtime wasm.
	WASMFile string `yaml:"wasm,omitempty" json:"wasm,omitempty"`
	// Description says what the plugin is for.
	Description string `yaml:"description,omitempty" json:"description,omitempty"`
	// Author says who made it.
	Author string `yaml:"author,omitempty" json:"author,omitempty"`
	// License is an SPDX expression.
	License string `yaml:"license,omitempty" json:"license,omitempty"`
	// Homepage is a URL.
	Homepage string `yaml:"homepage,omitempty" json:"homepage,omitempty"`
	// Icon is inline SVG, a FontAwesome class or a bundled path.
	Icon string `yaml:"icon,omitempty" json:"icon,omitempty"`
	// Type is plugin or theme.
	Type string `yaml:"type,omitempty" json:"type,omitempty"`
	// Resources are what the plugin asks for.
	Resources *ResourceRequest `yaml:"resources,omitempty" json:"resources,omitempty"`
	// Dependencies are names of plugins, with versions or without.
	Dependencies []string `yaml:"dependencies,omitempty" json:"dependencies,omitempty"`
	// Sidecars are containers beside the plugin.
	Sidecars []SidecarSpec `yaml:"sidecars,omitempty" json:"sidecars,omitempty"`
}

// SidecarSpec is a container that a plugin would like to have beside it.
type SidecarSpec struct {
	// Name tells it from others.
	Name string `yaml:"name" json:"name"`
	// Image is the container's image.
	Image string `yaml:"image" json:"image"`
	// Ports are published.
	Ports []string `yaml:"ports,omitempty" json:"ports,omitempty"`
	// Env is its environment.
	Env map[string]string `yaml:"env,omitempty" json:"env,omitempty"`
	// Volumes are mounted.
	Volumes []string `yaml:"volumes,omitempty" json:"volumes,omitempty"`
	// Privileged asks for all of the machine's capabilities.
	Privileged bool `yaml:"privileged,omitempty" json:"privileged,omitempty"`
	// MemoryMB is a limit in MiB.
	MemoryMB int `yaml:"memory_mb,omitempty" json:"memory_mb,omitempty"`
	// CPUMillis is a limit in thousandths of a processor.
	CPUMillis int `yaml:"cpu_millis,omitempty" json:"cpu_millis,omitempty"`
	// Healthcheck says how to tell whether it is well.
	Healthcheck *SidecarHealth `yaml:"healthcheck,omitempty" json:"healthcheck,omitempty"`
}

// SidecarHealth says how to tell whether a sidecar is well.
type SidecarHealth struct {
	// Command is run inside of it.
	Command []string `yaml:"command" json:"command"`
	// Interval is a Go duration.
	Interval string `yaml:"interval,omitempty" json:"interval,omitempty"`
}
