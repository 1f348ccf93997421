package config

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
)

// Logger is a logger whose level and format can be set while it is in use. Loggers made of it follow.
type Logger struct {
	*slog.Logger
	level slog.LevelVar
	json  atomic.Bool
}

// Logger returns a logger as l says, writing to w.
func (l Log) Logger(w io.Writer) *Logger {
	g := &Logger{}
	g.Set(l)
	opt := &slog.HandlerOptions{Level: &g.level}
	w = &oneByOne{w: w}
	g.Logger = slog.New(eitherHandler{slog.NewTextHandler(w, opt), slog.NewJSONHandler(w, opt), &g.json})
	return g
}

// Set makes g log as l says from now on.
func (g *Logger) Set(l Log) {
	g.level.Set(l.Level)
	g.json.Store(l.Format == FormatJSON)
}

// eitherHandler writes each record in the format of the moment.
type eitherHandler struct {
	text, json slog.Handler
	asJSON     *atomic.Bool
}

func (h eitherHandler) now() slog.Handler {
	if h.asJSON.Load() {
		return h.json
	}
	return h.text
}

func (h eitherHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.now().Enabled(ctx, l)
}

func (h eitherHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.now().Handle(ctx, r)
}

func (h eitherHandler) WithAttrs(as []slog.Attr) slog.Handler {
	return eitherHandler{h.text.WithAttrs(as), h.json.WithAttrs(as), h.asJSON}
}

func (h eitherHandler) WithGroup(name string) slog.Handler {
	return eitherHandler{h.text.WithGroup(name), h.json.WithGroup(name), h.asJSON}
}

// oneByOne keeps lines of the two formats apart: each handler locks for itself only.
type oneByOne struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *oneByOne) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(b)
}
