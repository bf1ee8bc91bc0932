package restapi

import (
	"context"

	"ferric/api/ipa"
)

// showProgress relays what the node's agent says of the transfer in flight;
// 404 when there is none.
func (s *Server) showProgress(ctx context.Context, r *request) (reply, error) {
	n, err := s.extensionNode(ctx, r)
	if err != nil {
		return reply{}, err
	}
	p, err := s.conductor.Progress(ctx, n)
	if err != nil {
		return reply{}, err
	}
	s.noteProgress(ctx, r, n, p)
	return ok(p)
}

// showSensors tells what the machine's sensors said when they were read last, or
// reads them.
func (s *Server) showSensors(ctx context.Context, r *request) (reply, error) {
	n, err := s.extensionNode(ctx, r)
	if err != nil {
		return reply{}, err
	}
	refresh, err := r.args.flag("refresh")
	if err != nil {
		return reply{}, err
	}
	readings, err := s.conductor.Sensors(ctx, n, refresh != nil && *refresh)
	if err != nil {
		return reply{}, err
	}
	return ok(readings)
}

// showEraseReport tells what the latest steps that erase did to the node's
// disks; an empty list if none has run.
func (s *Server) showEraseReport(ctx context.Context, r *request) (reply, error) {
	n, err := s.extensionNode(ctx, r)
	if err != nil {
		return reply{}, err
	}
	reports, err := s.conductor.EraseReports(ctx, n)
	if err != nil {
		return reply{}, err
	}
	return ok(ipa.EraseReports{Reports: reports})
}

// extensionNode is the id of the node, found as unversionedNode does.
func (s *Server) extensionNode(ctx context.Context, r *request) (id int64, err error) {
	n, err := s.unversionedNode(ctx, r)
	if err != nil {
		return 0, err
	}
	return n.ID, nil
}
