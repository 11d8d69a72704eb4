//go:build linux

package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// newRoot builds the command tree. The root command is the ping.
func newRoot(e *env) *cobra.Command {
	root := newPing(e)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(newHelp())
	root.SetFlagErrorFunc(usageError)
	root.SetUsageTemplate(usageTemplate)
	root.SetHelpTemplate(helpTemplate)
	root.AddCommand(newArping(e), newRoute(e), newSend(e), newCapture(e), newStamps(e), newDemo(e), newVersion(e))
	root.SuggestionsMinimumDistance = 2
	e.commandsLike = root.SuggestionsFor
	return root
}

const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}{{.UsageString}}`

const usageTemplate = `Usage:
  {{.UseLine}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND ...

Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name 10}}{{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsagesWrapped 100 | trimTrailingWhitespaces}}{{end}}{{with .Example}}

Examples:
{{.}}{{end}}
`

// oneHost wants exactly one HOST.
func oneHost(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return usageError(cmd, errNoHost)
	case len(args) > 1:
		return usageError(cmd, fmt.Errorf("more than one host given (%s, %s)", args[0], args[1]))
	}
	return nil
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError(cmd, fmt.Errorf("unexpected argument %q", args[0]))
	}
	return nil
}

func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Tell about a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usageError(cmd.Root(), fmt.Errorf("no command %q", args[len(args)-1]))
			}
			return about.Help()
		},
	}
}

func newVersion(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(e.stdout, "l2ping %s\n", buildVersion())
			return outputError(err)
		},
	}
	cmd.DisableFlagsInUseLine = true
	cmd.Flags().BoolP("help", "h", false, "print this")
	return cmd
}

// version is set by the linker, from git.
var version string

// buildVersion is the version that the linker set, else the module's as `go
// install` records it.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}
