package api

import (
	"net/http"

	"x0tta6bl4/mesh"
)

// configuration adds what reads and changes the configuration. It is not for monitoring, so NewPublicHandler has none of it.
func configuration(mux *http.ServeMux, c ConfigBackend) {
	if c == nil {
		for _, path := range []string{"/v1/config", "/v1/config/"} {
			mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
				writeError(w, Errorf(CodeUnavailable, "this daemon does not tell its configuration"))
			})
		}
		return
	}
	mux.Handle("GET /v1/config", answer(func(r *http.Request) (any, error) { return noArgs(r, c.Config) }))
	mux.Handle("GET /v1/config/shared", answer(func(r *http.Request) (any, error) { return noArgs(r, c.ConfigShared) }))
	mux.Handle("PUT /v1/config/shared", answer(func(r *http.Request) (any, error) {
		at, err := targetOf(r)
		if err != nil {
			return nil, err
		}
		value, err := readValue(r)
		if err != nil {
			return nil, err
		}
		return c.ConfigSet(r.Context(), at, value)
	}))
	mux.Handle("DELETE /v1/config/shared", answer(func(r *http.Request) (any, error) {
		at, err := targetOf(r)
		if err != nil {
			return nil, err
		}
		return c.ConfigUnset(r.Context(), at)
	}))
}

func targetOf(r *http.Request) (ConfigTarget, error) {
	q, err := parseQuery(r, "key", "node")
	if err != nil {
		return ConfigTarget{}, err
	}
	key, ok := q["key"]
	if !ok {
		return ConfigTarget{}, Errorf(CodeBadRequest, "parameter \"key\" is missing").With("add ?key=KEY, such as log.level")
	}
	var n mesh.NodeID
	if _, one := q["node"]; one {
		n, err = q.node()
	}
	return ConfigTarget{key, n}, err
}
