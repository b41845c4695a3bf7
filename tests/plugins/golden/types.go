package main

import (
	"encoding/json"
	"reflect"

	"example.org/goatkit/testplugins/golden/plugin"
)

// The types of the vectors. Gob sends their names and the names and order of their fields.
type (
	Request struct {
		ServiceMethod string
		Seq           uint64
	}
	Response struct {
		ServiceMethod string
		Seq           uint64
		Error         string
	}
	InitRequest struct {
		Config    map[string]string
		HostAPIID uint32
	}
	CallRequest struct {
		Function string
		Args     json.RawMessage
	}
	CallResponse struct {
		Result json.RawMessage
		Error  string
	}
	HostAPIRequest struct {
		Method       string
		Args         json.RawMessage
		CallerPlugin string
	}
	HostAPIResponse struct {
		Result json.RawMessage
		Error  string
	}
)

// registry maps the type names of the vectors to types.
var registry = map[string]reflect.Type{
	"main.Request":          reflect.TypeFor[Request](),
	"main.Response":         reflect.TypeFor[Response](),
	"grpc.InitRequest":      reflect.TypeFor[InitRequest](),
	"grpc.CallRequest":      reflect.TypeFor[CallRequest](),
	"grpc.CallResponse":     reflect.TypeFor[CallResponse](),
	"grpc.HostAPIRequest":   reflect.TypeFor[HostAPIRequest](),
	"grpc.HostAPIResponse":  reflect.TypeFor[HostAPIResponse](),
	"plugin.GKRegistration": reflect.TypeFor[plugin.GKRegistration](),
	"bool":                  reflect.TypeFor[bool](),
	"string":                reflect.TypeFor[string](),
	"int":                   reflect.TypeFor[int](),
	"uint32":                reflect.TypeFor[uint32](),
	"float64":               reflect.TypeFor[float64](),
	"[]uint8":               reflect.TypeFor[[]byte](),
	"[]string":              reflect.TypeFor[[]string](),
	"map[string]string":     reflect.TypeFor[map[string]string](),
	"struct {}":             reflect.TypeFor[struct{}](),
	"interface {}":          reflect.TypeFor[any](),
}
