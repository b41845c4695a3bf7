// Package plugin holds the types of a registration, in a package of the name that the vectors' types have: gob sends it
// as part of the names of slice types.
package plugin

// The registration of the first contract.
type (
	GKRegistration struct {
		Name           string
		Version        string
		Description    string
		Author         string
		License        string
		Homepage       string
		Routes         []RouteSpec
		MenuItems      []MenuItemSpec
		Widgets        []WidgetSpec
		Jobs           []JobSpec
		Templates      []TemplateSpec
		I18n           *I18nSpec
		ErrorCodes     []ErrorCodeSpec
		MinHostVersion string
		Permissions    []string
	}
	RouteSpec struct {
		Method      string
		Path        string
		Handler     string
		Middleware  []string
		Description string
	}
	MenuItemSpec struct {
		ID       string
		Label    string
		Icon     string
		Path     string
		Location string
		Parent   string
		Order    int
		Children []MenuItemSpec
	}
	WidgetSpec struct {
		ID          string
		Title       string
		Description string
		Handler     string
		Location    string
		Size        string
		Order       int
		Refreshable bool
		RefreshSec  int
	}
	JobSpec struct {
		ID          string
		Handler     string
		Schedule    string
		Description string
		Enabled     bool
		Timeout     string
	}
	TemplateSpec struct {
		Name     string
		Path     string
		Override bool
	}
	I18nSpec struct {
		Namespace    string
		Languages    []string
		Translations map[string]map[string]string
	}
	ErrorCodeSpec struct {
		Code       string
		Message    string
		HTTPStatus int
	}
)
