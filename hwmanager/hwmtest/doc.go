// Package hwmtest tests hardware managers without hardware.
//
// A Fake is a made-up machine out of a directory, on which programs that the
// vendor wrote, or answers that he recorded, stand in for the machine's. It
// writes down which programs were run, and how:
//
//	fake := hwmtest.New(t, "testdata/server")
//	level, err := acme.New().Evaluate(t.Context(), fake.Host)
//	for _, run := range fake.Runs() { … }
//
// Run has a manager pass the conformance suite, whose checks are each there
// because what they find would cost a node or an operator's evening:
//
//	func TestConformance(t *testing.T) {
//		hwmtest.Run(t, func() hwmanager.Manager { return acme.New() }, hwmtest.OnHost("testdata/server"))
//	}
//
// Check is the same without package testing, for `ferric plugin test`.
package hwmtest
