package plugin

// ResourceRequest is what a plugin asks for. The host's policy decides what it gets.
type ResourceRequest struct {
	// MemoryMB is a limit in MiB.
	MemoryMB int `json:"memory_mb,omitempty" yaml:"memory_mb,omitempty"`
	// CallTimeout, InitTimeout and ShutdownTimeout are Go durations such as "30s".
	CallTimeout     string       `json:"call_timeout,omitempty" yaml:"call_timeout,omitempty"`
	InitTimeout     string       `json:"init_timeout,omitempty" yaml:"init_timeout,omitempty"`
	ShutdownTimeout string       `json:"shutdown_timeout,omitempty" yaml:"shutdown_timeout,omitempty"`
	Permissions     []Permission `json:"permissions,omitempty" yaml:"permissions,omitempty"`
	// MaxFileStorageBytes is a quota for the plugin's files.
	MaxFileStorageBytes int64 `json:"max_file_storage_bytes,omitempty" yaml:"max_file_storage_bytes,omitempty"`
}

// Permission is one thing a plugin wants to be allowed.
//
// Type is db, cache, http, email, config, plugin_call, file, article, ticket or entity; Access is read, write,
// readwrite or (entity) hard_delete; Scope limits it to tables, hosts, addresses, keys, plugins or entity types.
type Permission struct {
	Type   string   `json:"type" yaml:"type"`
	Access string   `json:"access,omitempty" yaml:"access,omitempty"`
	Scope  []string `json:"scope,omitempty" yaml:"scope,omitempty"`
}

// ResourcePolicy is what a host enforces. A limit of 0 per second or minute means unlimited.
type ResourcePolicy struct {
	PluginName string `json:"plugin_name"`
	// Status is pending_review, approved, restricted or blocked.
	Status              string       `json:"status"`
	MemoryMB            int          `json:"memory_mb,omitempty"`
	CallTimeout         string       `json:"call_timeout,omitempty"`
	InitTimeout         string       `json:"init_timeout,omitempty"`
	ShutdownTimeout     string       `json:"shutdown_timeout,omitempty"`
	Permissions         []Permission `json:"permissions,omitempty"`
	MaxCallsPerSecond   int          `json:"max_calls_per_second,omitempty"`
	MaxDBQueriesPerMin  int          `json:"max_db_queries_per_min,omitempty"`
	MaxHTTPReqPerMin    int          `json:"max_http_req_per_min,omitempty"`
	MaxFileStorageBytes int64        `json:"max_file_storage_bytes,omitempty"`
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
	Name         string           `yaml:"name" json:"name"`
	Version      string           `yaml:"version" json:"version"`
	Runtime      string           `yaml:"runtime" json:"runtime"`
	Binary       string           `yaml:"binary" json:"binary,omitempty"`
	WASMFile     string           `yaml:"wasm,omitempty" json:"wasm,omitempty"`
	Description  string           `yaml:"description,omitempty" json:"description,omitempty"`
	Author       string           `yaml:"author,omitempty" json:"author,omitempty"`
	License      string           `yaml:"license,omitempty" json:"license,omitempty"`
	Homepage     string           `yaml:"homepage,omitempty" json:"homepage,omitempty"`
	Icon         string           `yaml:"icon,omitempty" json:"icon,omitempty"`
	Type         string           `yaml:"type,omitempty" json:"type,omitempty"`
	Resources    *ResourceRequest `yaml:"resources,omitempty" json:"resources,omitempty"`
	Dependencies []string         `yaml:"dependencies,omitempty" json:"dependencies,omitempty"`
	Sidecars     []SidecarSpec    `yaml:"sidecars,omitempty" json:"sidecars,omitempty"`
}

// SidecarSpec is a container that a plugin would like to have beside it.
type SidecarSpec struct {
	Name        string            `yaml:"name" json:"name"`
	Image       string            `yaml:"image" json:"image"`
	Ports       []string          `yaml:"ports,omitempty" json:"ports,omitempty"`
	Env         map[string]string `yaml:"env,omitempty" json:"env,omitempty"`
	Volumes     []string          `yaml:"volumes,omitempty" json:"volumes,omitempty"`
	Privileged  bool              `yaml:"privileged,omitempty" json:"privileged,omitempty"`
	MemoryMB    int               `yaml:"memory_mb,omitempty" json:"memory_mb,omitempty"`
	CPUMillis   int               `yaml:"cpu_millis,omitempty" json:"cpu_millis,omitempty"`
	Healthcheck *SidecarHealth    `yaml:"healthcheck,omitempty" json:"healthcheck,omitempty"`
}

// SidecarHealth says how to tell whether a sidecar is well.
type SidecarHealth struct {
	Command  []string `yaml:"command" json:"command"`
	Interval string   `yaml:"interval,omitempty" json:"interval,omitempty"`
}
