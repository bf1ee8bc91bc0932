package main

import (
	"fmt"
	"os"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"ferric/conductor"
)

// newConductorCommand runs a conductor, or looks at those that run.
func newConductorCommand(c *connection) *cobra.Command {
	var configs []string
	var printConfig bool
	cmd := &cobra.Command{
		Use:   "conductor",
		Short: "Run the conductor: REST API, provisioning, network boot",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, warnings, err := conductor.LoadConfig(configs...)
			if err != nil {
				return err
			}
			if printConfig {
				return conductor.WriteINI(cmd.OutOrStdout(), &cfg)
			}
			log, err := newLogger(cfg)
			if err != nil {
				return err
			}
			for _, w := range warnings {
				log.Warn(w)
			}
			return conductor.Run(cmd.Context(), cfg, logrus.NewEntry(log))
		},
	}
	cmd.Flags().StringArrayVar(&configs, "config", nil, "configuration `file` in Ironic's INI format; may be repeated, later ones go before")
	cmd.Flags().BoolVar(&printConfig, "print-config", false, "print all options with their values and exit")
	cmd.AddCommand(conductors.listCommand(c), conductors.showCommand(c))
	return cmd
}

func newLogger(cfg conductor.Config) (*logrus.Logger, error) {
	log := logrus.New()
	log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true, TimestampFormat: "2006-01-02T15:04:05.000Z07:00"})
	if cfg.UseJSON {
		log.SetFormatter(&logrus.JSONFormatter{TimestampFormat: time.RFC3339Nano, FieldMap: logrus.FieldMap{logrus.FieldKeyMsg: "message", logrus.FieldKeyTime: "time", logrus.FieldKeyLevel: "level"}})
	}
	if cfg.Debug {
		log.SetLevel(logrus.DebugLevel)
	}
	if cfg.LogFile != "" {
		file, err := os.OpenFile(cfg.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
		if err != nil {
			return nil, fmt.Errorf("open the log: %w", err)
		}
		log.SetOutput(file)
	}
	return log, nil
}
