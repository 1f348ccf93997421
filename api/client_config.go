package api

import (
	"context"
	"net/http"
	"net/url"
)

// Config tells what this node runs with, and where each value comes from.
func (c *Client) Config(ctx context.Context) (Config, error) {
	return get[Config](ctx, c, "/v1/config")
}

// ConfigShared tells what nodes share of their configuration.
func (c *Client) ConfigShared(ctx context.Context) (ConfigShared, error) {
	return get[ConfigShared](ctx, c, "/v1/config/shared")
}

// ConfigSet shares a value, in YAML; it is on the node's disk when this returns.
func (c *Client) ConfigSet(ctx context.Context, at ConfigTarget, value []byte) (ConfigWritten, error) {
	var v ConfigWritten
	if len(value) > MaxValue {
		return v, valueTooLarge()
	}
	err := c.call(ctx, http.MethodPut, at.path(), value, &v)
	return v, err
}

// ConfigUnset takes a value that is shared away.
func (c *Client) ConfigUnset(ctx context.Context, at ConfigTarget) (ConfigWritten, error) {
	var v ConfigWritten
	err := c.call(ctx, http.MethodDelete, at.path(), nil, &v)
	return v, err
}

func (t ConfigTarget) path() string {
	q := url.Values{"key": {t.Key}}
	if !t.Node.IsZero() {
		q.Set("node", t.Node.String())
	}
	return "/v1/config/shared?" + q.Encode()
}
