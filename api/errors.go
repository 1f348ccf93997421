package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// Code names a kind of failure. Programs may rely on it; messages are for people.
type Code string

// The codes.
const (
	CodeBadRequest   Code = "bad_request"   // the request makes no sense
	CodeUnknownNode  Code = "unknown_node"  // no member of that name is known here
	CodeUnreachable  Code = "unreachable"   // the member is known, no way leads to it now
	CodeNotAuthority Code = "not_authority" // this node cannot sign for the domain
	CodeConflict     Code = "conflict"      // the name is taken
	CodeForbidden    Code = "forbidden"     // not by this way
	CodeNotFound     Code = "not_found"     // no such endpoint, or no value at the key
	CodeUnavailable  Code = "unavailable"   // not yet, or no longer: the daemon starts or stops, the shared state takes no writes
	CodeTooLarge     Code = "too_large"     // beyond a limit of size
	CodeTimeout      Code = "timeout"
	CodeInternal     Code = "internal"
)

var statuses = map[Code]int{
	CodeBadRequest:   http.StatusBadRequest,
	CodeUnknownNode:  http.StatusNotFound,
	CodeUnreachable:  http.StatusBadGateway,
	CodeNotAuthority: http.StatusConflict,
	CodeConflict:     http.StatusConflict,
	CodeForbidden:    http.StatusForbidden,
	CodeNotFound:     http.StatusNotFound,
	CodeUnavailable:  http.StatusServiceUnavailable,
	CodeTooLarge:     http.StatusRequestEntityTooLarge,
	CodeTimeout:      http.StatusGatewayTimeout,
	CodeInternal:     http.StatusInternalServerError,
}

// Error is a failure as the API tells it: what failed, and what the caller can do about it.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
}

// Errorf makes an Error without a remedy.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// With returns e with a remedy.
func (e *Error) With(format string, args ...any) *Error {
	c := *e
	c.Remedy = fmt.Sprintf(format, args...)
	return &c
}

func (e *Error) Error() string {
	if e.Remedy == "" {
		return e.Message
	}
	return e.Message + "; " + e.Remedy
}

// Is makes errors.Is(err, &Error{Code: c}) true for every Error of code c.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Message == "" && t.Remedy == "" && t.Code == e.Code
}

// Status returns the HTTP status that stands for e.
func (e *Error) Status() int {
	if s, ok := statuses[e.Code]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// asError makes any error one that can be sent.
func asError(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return Errorf(CodeTimeout, "%v", err)
	case errors.Is(err, context.Canceled):
		return Errorf(CodeUnavailable, "%v", err)
	}
	return Errorf(CodeInternal, "%v", err)
}
