package plugintest

import (
	"encoding/json"
	"strings"

	"github.com/goatkit/goatflow/pkg/plugin"
)

// translations are the texts of a namespace: language in lower case, key, text.
type translations map[string]map[string]string

// languageKey makes de_AT and de-at one language.
func languageKey(language string) string {
	return strings.ReplaceAll(strings.ToLower(language), "_", "-")
}

// SetTexts adds the texts of another plugin's namespace in a language, which Translate finds as "<namespace>.<key>". The
// plugin's own come from its registration.
func (h *Host) SetTexts(namespace, language string, texts map[string]string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.addTexts(namespace, language, texts)
}

func (h *Host) addTexts(namespace, language string, texts map[string]string) {
	if h.texts[namespace] == nil {
		h.texts[namespace] = translations{}
	}
	language = languageKey(language)
	if h.texts[namespace][language] == nil {
		h.texts[namespace][language] = map[string]string{}
	}
	for key, text := range texts {
		h.texts[namespace][language][key] = text
	}
}

// takeTexts puts the texts of a registration in place of those that the plugin had.
func (h *Host) takeTexts(registration *plugin.GKRegistration) {
	if h.own != "" {
		delete(h.texts, h.own)
		h.own = ""
	}
	if registration.I18n == nil {
		return
	}
	h.own = registration.I18n.Namespace
	if h.own == "" {
		h.own = registration.Name
	}
	for language, texts := range registration.I18n.Translations {
		h.addTexts(h.own, language, texts)
	}
}

func (h *Host) translate(call running, args json.RawMessage) (any, error) {
	wanted, err := read[struct {
		Key  string            `json:"key"`
		Args []json.RawMessage `json:"args"`
	}](args)
	if err != nil {
		return nil, err
	}
	language := call.language
	if language == "" {
		language = "en"
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	text, ok := "", false
	if namespace, key, cut := strings.Cut(wanted.Key, "."); cut {
		text, ok = h.texts[namespace].find(language, key)
	}
	if !ok {
		text, ok = h.texts[h.own].find(language, wanted.Key)
	}
	if !ok {
		text = wanted.Key
	}
	return value(substitute(text, wanted.Args)), nil
}

// find returns the text of a key in a language, else in its base language, else in English.
func (t translations) find(language, key string) (string, bool) {
	tag := languageKey(language)
	for {
		if text, ok := t[tag][key]; ok {
			return text, true
		}
		end := strings.LastIndexByte(tag, '-')
		if end < 0 {
			break
		}
		tag = tag[:end]
	}
	text, ok := t["en"][key]
	return text, ok
}

// substitute puts arguments into a text: {0}, {1} and so on, and in turn %s, %d and %v; %% is a percent sign. Without
// arguments the text stays as it is, and so does a place without one.
func substitute(text string, args []json.RawMessage) string {
	if len(args) == 0 {
		return text
	}
	var out strings.Builder
	turn := 0
	for text != "" {
		at := strings.IndexAny(text, "{%")
		if at < 0 {
			break
		}
		out.WriteString(text[:at])
		text = text[at:]
		if strings.HasPrefix(text, "%%") {
			out.WriteByte('%')
			text = text[2:]
			continue
		}
		number, length := place(text)
		if number < 0 && length == 2 {
			number = turn
			turn++
		}
		if number >= 0 && number < len(args) {
			out.WriteString(shown(args[number]))
		} else {
			out.WriteString(text[:length])
		}
		text = text[length:]
	}
	out.WriteString(text)
	return out.String()
}

// place reads what stands at the beginning of a text that begins with a brace or a percent sign: the argument's number,
// -1 for none or the next one, and the length.
func place(text string) (number, length int) {
	if len(text) > 1 && text[0] == '%' && strings.IndexByte("sdv", text[1]) >= 0 {
		return -1, 2
	}
	if text[0] != '{' {
		return -1, 1
	}
	digits := 0
	for digits+1 < len(text) && text[digits+1] >= '0' && text[digits+1] <= '9' {
		number = number*10 + int(text[digits+1]-'0')
		digits++
		if digits > 2 {
			return -1, 1
		}
	}
	if digits == 0 || digits+1 >= len(text) || text[digits+1] != '}' {
		return -1, 1
	}
	return number, digits + 2
}

// shown is an argument in a text.
func shown(arg json.RawMessage) string {
	var text string
	switch {
	case string(arg) == "null":
		return ""
	case json.Unmarshal(arg, &text) == nil:
		return text
	}
	return string(arg)
}
