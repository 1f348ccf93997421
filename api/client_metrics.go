package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// Metrics returns what /metrics serves: the daemon's counters and gauges as OpenMetrics text.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.do(ctx, http.MethodGet, "/metrics", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("metrics of the daemon on %s: %w", c.socket, err)
	}
	return b, nil
}
