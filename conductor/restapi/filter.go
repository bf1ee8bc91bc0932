package restapi

import "ferric/conductor/store"

// filter is an argument of a list that selects rows. where makes the SQL
// condition with one placeholder for each of its arguments, "" for none.
type filter struct {
	arg
	where func(a arguments, name string) (sql string, args []any, err error)
}

// filters of a list. Literal tables, beside the handlers.
type filters []filter

// args are the filters as arguments of a route.
func (fs filters) args() []arg {
	args := make([]arg, len(fs))
	for i, f := range fs {
		args[i] = f.arg
	}
	return args
}

// conditions are those of the filters that were given; all of them have to hold.
func (fs filters) conditions(a arguments) (where []string, args []any, err error) {
	for _, f := range fs {
		if !a.has(f.name) {
			continue
		}
		sql, more, err := f.where(a, f.name)
		if err != nil {
			return nil, nil, err
		}
		if sql != "" {
			where, args = append(where, sql), append(args, more...)
		}
	}
	return where, args, nil
}

type where = func(a arguments, name string) (string, []any, error)

// whereNothing is for arguments that are applied elsewhere.
func whereNothing(arguments, string) (string, []any, error) { return "", nil, nil }

func whereText(sql string) where {
	return func(a arguments, name string) (string, []any, error) {
		v, err := a.text(name)
		return sql, []any{v}, err
	}
}

func whereUUID(sql string) where {
	return func(a arguments, name string) (string, []any, error) {
		v, err := a.uuid(name)
		return sql, []any{v}, err
	}
}

func whereFlag(yes, no string) where {
	return func(a arguments, name string) (string, []any, error) {
		on, err := a.flag(name)
		if err != nil {
			return "", nil, err
		}
		if *on {
			return yes, nil, nil
		}
		return no, nil, nil
	}
}

// whereIn selects rows whose column is one of a comma list.
func whereIn(column string) where {
	return func(a arguments, name string) (string, []any, error) {
		items, err := a.list(name)
		if err != nil {
			return "", nil, err
		}
		// One placeholder, however long the list is.
		return column + " IN (SELECT value FROM json_each(?))", []any{store.Strings(items)}, nil
	}
}

func whereAddress(sql string) where {
	return func(a arguments, name string) (string, []any, error) {
		v, err := a.text(name)
		mac, ok := parseMAC(v)
		if err == nil && !ok {
			err = badRequest("Expected a MAC address but received %s.", v)
		}
		return sql, []any{mac}, err
	}
}
