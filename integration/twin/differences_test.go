package twin_test

// deliberate lists the differences that are meant: which requests, which of
// their differences (regular expressions), and why.
var deliberate = []struct{ request, difference, reason string }{
	{``, `^status: ferric 4\d\d, Ironic 500$`, "Ironic fails on what a client did wrong"},
	{``, `^header X-OpenStack-Ironic-API-(Minimum-)?Version: ferric "[\d.]+", Ironic ""$`, "the contract has them on every response"},
	{``, `^kind of body: ferric fault of Client, Ironic wrapped error with code, description, title$`,
		"ferric's error has the members of both kinds, so that clients of all ages find their text"},
	{`^POST nodes [[{]`, `^kind of body: ferric error with debuginfo, faultcode, faultstring, Ironic error with faultcode, faultstring$`, "the contract has debuginfo"},
	{`^PATCH nodes/`, `^body\.reservation: ferric <nil>`, "Ironic shows the lock of the very request, which is gone when its answer arrives"},
	{`^GET /v1`, `^body\.links\[\]\.href: ferric "https://docs`, "the address of the documentation without doubled slashes"},
	{`^HEAD `, `^status: ferric 200, Ironic 405$`, "HEAD is GET without a body"},
	{`^OPTIONS `, `^status: ferric 204, Ironic 200$`, "no body, no 200; Allow tells the methods"},
	{`^POST /$`, `^status: ferric 405, Ironic 200$`, "the contract has 405"},
	{`^GET //v1`, `^status: ferric 404, Ironic 400$`, "the WSGI server of Ironic refuses it"},
	{`^\+Content-Type= POST`, `kind of body|status`, "a body without Content-Type is read as JSON"},
	{`^\+Accept=(text|application)/(html|xml|plain) `, `^status: ferric 200, Ironic 406$`, "there is JSON only, whatever is asked for"},
	{`limit=9{20,}`, `^status: ferric 400, Ironic 200$`, "a number of no machine is refused"},
	{`^GET nodes/(nobody|one|one\.json|\$x300|%00|%E2%82%AC|no%20body)$`, `^status: ferric 406, Ironic 40[04]$`, "the contract has 406 for names before 1.5"},
	{`^(GET|POST|DELETE) nodes/\$a3/nonsense`, `^status: ferric 404, Ironic 40[06]$`, "an unknown path is 404"},
	{`^((DELETE|PATCH) nodes( \[\])?|POST nodes/\$a3 \{\})$`, `^status: ferric 405, Ironic 400$`, "the path is there, the method is not"},
	{`(POST|PATCH|DELETE) (inspection_rules|runbooks)`, `^status: ferric 404, Ironic 405$`, "the contract has 404 for all methods of older versions"},
	{`POST (heartbeat|continue_inspection)`, `^status: ferric 404, Ironic 400$`, "the version is looked at first"},
	{`"memory_mb":1\.5`, `^status: ferric 400, Ironic 201$`, "the contract has integers"},
	{`"name":5`, `^status: ferric 406, Ironic 400$`, "the version is looked at first"},
	{`"conductor_group":""`, `^status: ferric 406, Ironic 201$`, "the contract has 406 for all but null"},
	{`"shard":"\$x256"`, `^status: ferric 400, Ironic 201$`, "the column of a real database holds 255"},
	{`"owner":"me"`, `^status: ferric 201, Ironic 400$`, "without authentication all is allowed"},
	{`"owner":""`, `^body\.owner`, "what was given is kept"},
	{`"display_name":"dn"`, `^body\.instance_name`, "the contract copies it at creation too"},
}
