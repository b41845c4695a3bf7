//! HashiCorp go-plugin's net/rpc protocol.
#![forbid(unsafe_code)]
