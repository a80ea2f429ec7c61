// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/mab-build/mab/bake"
)

// optionalBool is a flag that, not given, leaves the choice to others.
type optionalBool struct{ value **bool }

func (o optionalBool) String() string { return "" }
func (o optionalBool) Type() string   { return "bool" }

// IsBoolFlag has the flag be written without a value.
func (o optionalBool) IsBoolFlag() bool { return true }

// Set reads true and false as other flags do.
func (o optionalBool) Set(s string) error {
	on, err := strconv.ParseBool(s)
	if err != nil {
		return fmt.Errorf("reading %q: neither true nor false", s)
	}
	*o.value = &on
	return nil
}

// listForm is the value of --list.
type listForm struct{ kind, format string }

// parseListForm reads targets, variables, or type=…[,format=table|json]. Empty is the zero value.
func parseListForm(text string) (listForm, error) {
	out := listForm{format: "table"}
	if text == "" {
		return listForm{}, nil
	}
	wrong := usage{fmt.Errorf("understanding --list %q", text), "choose targets or variables, or write type=targets|variables,format=table|json"}
	for field := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		switch {
		case !ok && text == field:
			out.kind = field
		case ok && strings.EqualFold(key, "type"):
			out.kind = value
		case ok && strings.EqualFold(key, "format"):
			out.format = value
		default:
			return listForm{}, wrong
		}
	}
	if (out.kind != "targets" && out.kind != "variables") || (out.format != "table" && out.format != "json") {
		return listForm{}, wrong
	}
	return out, nil
}

// print prints what docker buildx bake --list does.
func (f listForm) print(w io.Writer, d *bake.Definition) error {
	if f.format == "json" {
		if f.kind == "targets" {
			return printJSON(w, d.List())
		}
		return printJSON(w, d.Variables())
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if f.kind == "targets" {
		_, _ = fmt.Fprintln(table, "TARGET\tDESCRIPTION")
		for _, l := range d.List() {
			_, _ = fmt.Fprintf(table, "%s\t%s\n", l.Name, l.Description)
		}
		return table.Flush()
	}
	_, _ = fmt.Fprintln(table, "VARIABLE\tTYPE\tVALUE\tDESCRIPTION")
	for _, v := range d.Variables() {
		value := "<null>"
		if v.Value != nil {
			value = *v.Value
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", v.Name, v.Type, value, v.Description)
	}
	return table.Flush()
}
