package plugin

// SDKVersion is the version of this module, without the "v" of its tag.
const SDKVersion = "0.1.0"
