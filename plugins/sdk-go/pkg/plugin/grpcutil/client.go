package grpcutil

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/rpc"

	goplugin "github.com/hashicorp/go-plugin"

	"github.com/goatkit/goatflow/pkg/plugin"
)

// GKPluginRPCClient calls a plugin from a host written in Go; dispensing PluginKey yields one.
type GKPluginRPCClient struct {
	client *rpc.Client
	broker *goplugin.MuxBroker
}

// Broker is where a host serves its API for InitWithHostAPI.
func (c *GKPluginRPCClient) Broker() *goplugin.MuxBroker { return c.broker }

// GKRegister asks the plugin what it is. Plugins of the first generation, which answer a gob struct, are not
// understood: net/rpc ends the connection of a client that meets another type than it expects.
func (c *GKPluginRPCClient) GKRegister() (*plugin.GKRegistration, error) {
	var raw []byte
	if err := c.client.Call("Plugin.GKRegister", new(interface{}), &raw); err != nil {
		return nil, err
	}
	registration := &plugin.GKRegistration{}
	if err := json.Unmarshal(raw, registration); err != nil {
		return nil, fmt.Errorf("GKRegister: unexpected result: %w", err)
	}
	return registration, nil
}

// Init prepares the plugin without a host API.
func (c *GKPluginRPCClient) Init(config map[string]string) error {
	return c.InitWithHostAPI(config, 0)
}

// InitWithHostAPI prepares the plugin and tells it the broker id under which the host API is served.
func (c *GKPluginRPCClient) InitWithHostAPI(config map[string]string, hostAPIID uint32) error {
	var reply interface{}
	return c.client.Call("Plugin.Init", InitRequest{Config: config, HostAPIID: hostAPIID}, &reply)
}

// Call runs a function of the plugin.
func (c *GKPluginRPCClient) Call(fn string, args json.RawMessage) (json.RawMessage, error) {
	return c.CallWithContext(context.Background(), fn, args)
}

// CallWithContext runs a function of the plugin and stops waiting when ctx ends. A token put into ctx with
// ContextWithCallToken is passed on.
func (c *GKPluginRPCClient) CallWithContext(ctx context.Context, fn string, args json.RawMessage) (json.RawMessage, error) {
	request := CallRequest{Function: fn, Args: args, CallToken: CallTokenFromContext(ctx)}
	reply := &CallResponse{}
	if err := callContext(ctx, c.client, "Plugin.Call", request, reply); err != nil {
		return nil, err
	}
	if reply.Error != "" {
		return nil, errors.New(reply.Error)
	}
	return reply.Result, nil
}

// Shutdown lets the plugin clean up.
func (c *GKPluginRPCClient) Shutdown() error {
	var reply interface{}
	return c.client.Call("Plugin.Shutdown", new(interface{}), &reply)
}

// callContext is rpc.Client.Call that ends with ctx. reply must not be read when an error is returned: a late answer
// is still written into it.
func callContext(ctx context.Context, client *rpc.Client, method string, request, reply any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	call := client.Go(method, request, reply, make(chan *rpc.Call, 1))
	select {
	case <-call.Done:
		return call.Error
	case <-ctx.Done():
		return ctx.Err()
	}
}
