// Command shapes has messages as large plugins have them: interfaces that hold values of hundreds of types, in one another,
// with times and links. Without arguments it is a plugin; with one it is the host of that plugin.
package main

import (
	"encoding/gob"
	"errors"
	"fmt"
	"net/rpc"
	"net/url"
	"os"
	"os/exec"
	"reflect"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"example.org/goatkit/testplugins/internal/greet"
)

// typesMax is how many types there are to take from.
const typesMax = 400

// Step is a step of a workflow, whose parameters and results are of types that the workflow's engine does not know.
type Step struct {
	Name       string
	StartedAt  *time.Time
	Parameters map[string]any
	Results    []any
	Then       []Step
}

// Rollout is one of them, with a nested interface and types that encode themselves.
type Rollout struct {
	At     time.Time
	Link   *url.URL
	Labels map[string]string
	Detail any
}

// made are types of which no two are alike.
var made []reflect.Type

func init() {
	gob.RegisterName("shapes.Rollout", Rollout{})
	gob.RegisterName("time.Time", time.Time{})
	for number := range typesMax {
		inner := reflect.StructOf([]reflect.StructField{
			{Name: fmt.Sprintf("Inner%d", number), Type: reflect.TypeFor[int]()},
			{Name: "At", Type: reflect.TypeFor[time.Time]()},
		})
		outer := reflect.StructOf([]reflect.StructField{
			{Name: fmt.Sprintf("Value%d", number), Type: reflect.TypeFor[string]()},
			{Name: "List", Type: reflect.SliceOf(inner)},
			{Name: "Holds", Type: reflect.TypeFor[any]()},
		})
		gob.RegisterName(fmt.Sprintf("shapes.Made%d", number), reflect.Zero(outer).Interface())
		made = append(made, outer)
	}
}

// step holds values of so many of the types.
func step(count int) Step {
	at := time.Date(2026, 11, 28, 3, 4, 5, 6, time.UTC)
	rollout := Rollout{
		At: at, Link: &url.URL{Scheme: "https", Host: "goat.example"}, Labels: map[string]string{"a": "b"}, Detail: []string{"x"},
	}
	results := make([]any, count)
	for number := range results {
		value := reflect.New(made[number]).Elem()
		value.Field(0).SetString(fmt.Sprint(number))
		list := reflect.MakeSlice(value.Field(1).Type(), 2, 2)
		list.Index(1).Field(0).SetInt(int64(number))
		list.Index(1).Field(1).Set(reflect.ValueOf(at))
		value.Field(1).Set(list)
		value.Field(2).Set(reflect.ValueOf(rollout))
		results[number] = value.Interface()
	}
	return Step{
		Name: "deploy", StartedAt: &at, Results: results,
		Parameters: map[string]any{"count": count, "at": at, "text": "t", "bytes": []byte("b"), "rollout": rollout},
		Then:       []Step{{Name: "then", Results: []any{rollout, 1.5, true}}},
	}
}

// runner is the plugin's end.
type runner struct{}

// Make makes a step with values of so many types.
func (runner) Make(count int, reply *Step) error {
	if count < 0 || count > typesMax {
		return fmt.Errorf("there are %d types", typesMax)
	}
	*reply = step(count)
	return nil
}

// Run gives back what it gets.
func (runner) Run(step Step, reply *Step) error {
	*reply = step
	return nil
}

// IsWhatWasMade compares a step with one that Make has made.
func (runner) IsWhatWasMade(found Step, reply *bool) error {
	*reply = reflect.DeepEqual(found, step(len(found.Results)))
	return nil
}

// Plugin is the set's entry "shapes".
type Plugin struct{}

// Server makes the plugin's end.
func (Plugin) Server(*plugin.MuxBroker) (any, error) { return runner{}, nil }

// Client makes the host's end.
func (Plugin) Client(_ *plugin.MuxBroker, c *rpc.Client) (any, error) { return c, nil }

var set = plugin.PluginSet{"shapes": Plugin{}}

func host(program string) error {
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: greet.Handshake,
		Plugins:         set,
		Cmd:             exec.Command(program),
		Logger:          hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stderr}),
	})
	defer client.Kill()
	connection, err := client.Client()
	if err != nil {
		return err
	}
	raw, err := connection.Dispense("shapes")
	if err != nil {
		return err
	}
	shapes, ok := raw.(*rpc.Client)
	if !ok {
		return errors.New("the plugin's client is none")
	}
	// The second call defines nothing any more.
	for range 2 {
		sent, back := step(typesMax), Step{}
		if err := shapes.Call("Plugin.Run", sent, &back); err != nil {
			return err
		}
		if !reflect.DeepEqual(sent, back) {
			return fmt.Errorf("sent %+v, got back %+v", sent, back)
		}
	}
	fmt.Printf("%d types came back\n", typesMax)
	return nil
}

func main() {
	if len(os.Args) == 1 {
		plugin.Serve(&plugin.ServeConfig{HandshakeConfig: greet.Handshake, Plugins: set})
		return
	}
	if err := host(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "shapes:", err)
		os.Exit(1)
	}
}
