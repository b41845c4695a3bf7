package main

import (
	"encoding/gob"
	"fmt"
	"math/big"
	"math/rand"
	"net/url"
	"reflect"
	"time"
)

// Tree contains itself, and whatever it is given.
type Tree struct {
	Name     string
	Holds    any
	Children []*Tree
	ByName   map[string]Tree
}

// Celsius has a name of its own, as constants in Go programs do.
type Celsius float64

var (
	timeType = reflect.TypeFor[time.Time]()
	urlType  = reflect.TypeFor[*url.URL]()
	bigType  = reflect.TypeFor[*big.Int]()
	treeType = reflect.TypeFor[Tree]()
	anyType  = reflect.TypeFor[any]()

	basic = []reflect.Type{
		reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[int16](),
		reflect.TypeFor[int32](), reflect.TypeFor[int64](), reflect.TypeFor[uint](), reflect.TypeFor[uint8](),
		reflect.TypeFor[uint16](), reflect.TypeFor[uint32](), reflect.TypeFor[uint64](), reflect.TypeFor[uintptr](),
		reflect.TypeFor[float32](), reflect.TypeFor[float64](), reflect.TypeFor[complex64](), reflect.TypeFor[complex128](),
		reflect.TypeFor[string](), reflect.TypeFor[[]byte](), reflect.TypeFor[Celsius](),
	}
	// registered holds the names of the types that interfaces hold; those in basic but the last, and slices of
	// them, are registered by gob itself.
	registered = map[reflect.Type]bool{}
)

func init() {
	for _, basic := range basic[:len(basic)-1] {
		registered[basic] = true
		// A []byte is basic already, and slices of it are not registered.
		registered[reflect.SliceOf(basic)] = basic.Kind() != reflect.Slice
	}
}

// generator makes types and values of one case.
type generator struct {
	random *rand.Rand
	number int
	types  int
}

// generate makes the value of a case: the same in every process.
func generate(seed int64, number int) any {
	g := &generator{random: rand.New(rand.NewSource(seed<<32 + int64(number))), number: number}
	return g.value(g.typ(4), 4).Interface()
}

// typ makes a type that an interface can hold.
func (g *generator) typ(depth int) reflect.Type {
	made := g.anyTyp(depth)
	for made.Kind() == reflect.Interface {
		made = g.anyTyp(depth)
	}
	if !registered[made] {
		registered[made] = true
		gob.RegisterName(fmt.Sprintf("type%d.%d", g.number, len(registered)), reflect.Zero(made).Interface())
	}
	return made
}

func (g *generator) anyTyp(depth int) reflect.Type {
	if depth == 0 {
		return basic[g.random.Intn(len(basic))]
	}
	switch g.random.Intn(12) {
	case 0:
		return reflect.SliceOf(g.element(depth))
	case 1:
		return reflect.ArrayOf(1+g.random.Intn(3), g.element(depth))
	case 2:
		keys := []reflect.Type{reflect.TypeFor[string](), reflect.TypeFor[int](), reflect.TypeFor[uint16]()}
		return reflect.MapOf(keys[g.random.Intn(len(keys))], g.element(depth))
	case 3, 4, 5, 6:
		return g.structTyp(depth)
	case 7:
		return timeType
	case 8:
		return treeType
	case 9:
		return anyType
	default:
		return basic[g.random.Intn(len(basic))]
	}
}

// element is a type of which gob can send every value: an element cannot be nil.
func (g *generator) element(depth int) reflect.Type {
	return g.anyTyp(depth - 1)
}

// structTyp makes a type that no other case has.
func (g *generator) structTyp(depth int) reflect.Type {
	g.types++
	fields := make([]reflect.StructField, 1+g.random.Intn(5))
	for number := range fields {
		made := g.anyTyp(depth - 1)
		switch g.random.Intn(10) {
		case 0:
			made = urlType
		case 1:
			made = bigType
		case 2:
			if made.Kind() != reflect.Interface {
				made = reflect.PointerTo(made)
			}
		}
		fields[number] = reflect.StructField{Name: fmt.Sprintf("F%dOf%dIn%d", number, g.types, g.number), Type: made}
	}
	return reflect.StructOf(fields)
}

func (g *generator) value(of reflect.Type, depth int) reflect.Value {
	made := reflect.New(of).Elem()
	switch of {
	case timeType:
		zones := []*time.Location{time.UTC, time.FixedZone("", 7200), time.FixedZone("", -12345)}
		// Wall clock alone: a monotonic reading does not travel.
		at := time.Unix(g.random.Int63n(4e9)-1e9, g.random.Int63n(1e9)).In(zones[g.random.Intn(len(zones))])
		made.Set(reflect.ValueOf(at))
		return made
	case urlType:
		if g.random.Intn(3) > 0 {
			made.Set(reflect.ValueOf(&url.URL{Scheme: "https", Host: "goat.example", Path: "/" + g.text()}))
		}
		return made
	case bigType:
		if g.random.Intn(3) > 0 {
			large := new(big.Int).Lsh(big.NewInt(g.random.Int63()), uint(g.random.Intn(200)))
			made.Set(reflect.ValueOf(large.Neg(large)))
		}
		return made
	}
	switch of.Kind() {
	case reflect.Bool:
		made.SetBool(g.random.Intn(2) == 0)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		made.SetInt(g.random.Int63() >> g.random.Intn(64) * int64(1-2*g.random.Intn(2)) >> (64 - of.Bits()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		made.SetUint(g.random.Uint64() >> g.random.Intn(64) >> (64 - of.Bits()))
	case reflect.Float32, reflect.Float64:
		made.SetFloat(float64(g.random.Intn(2000)-1000) / 8)
	case reflect.Complex64, reflect.Complex128:
		made.SetComplex(complex(float64(g.random.Intn(100)), float64(-g.random.Intn(3))))
	case reflect.String:
		made.SetString(g.text())
	case reflect.Slice:
		count := g.random.Intn(4)
		made.Set(reflect.MakeSlice(of, count, count))
		for number := range count {
			made.Index(number).Set(g.value(of.Elem(), depth-1))
		}
	case reflect.Array:
		for number := range of.Len() {
			made.Index(number).Set(g.value(of.Elem(), depth-1))
		}
	case reflect.Map:
		// One key at most: with more the order on the wire is Go's whim.
		made.Set(reflect.MakeMap(of))
		if g.random.Intn(3) > 0 {
			made.SetMapIndex(g.value(of.Key(), 0), g.value(of.Elem(), depth-1))
		}
	case reflect.Pointer:
		if of.Elem() == treeType || g.random.Intn(3) > 0 {
			pointed := reflect.New(of.Elem())
			pointed.Elem().Set(g.value(of.Elem(), depth-1))
			made.Set(pointed)
		}
	case reflect.Interface:
		if depth > 0 && g.random.Intn(4) > 0 {
			made.Set(g.value(g.typ(depth-1), depth-1))
		}
	case reflect.Struct:
		if of == treeType && depth <= 0 {
			made.Field(0).SetString(g.text())
			return made
		}
		for number := range of.NumField() {
			made.Field(number).Set(g.value(of.Field(number).Type, depth-1))
		}
	}
	return made
}

func (g *generator) text() string {
	texts := []string{"", "goat", "Größe", "a \x00 in it", "not UTF-8: \xff\xfe"}
	text := texts[g.random.Intn(len(texts))]
	if g.random.Intn(4) == 0 {
		// Longer than one byte of length can say.
		for len(text) < 200 {
			text += fmt.Sprint(g.random.Intn(10))
		}
	}
	return text
}
