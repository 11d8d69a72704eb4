// Package render turns the events of a run into text or JSON. Both are
// renderings of the same events; neither knows how they came about.
//
// The text is iputils ping's, so that what reads ping reads it.
package render
