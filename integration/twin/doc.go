// Package twin sends the same requests to ferric and to a real Ironic, both
// with fake hardware, and compares the answers: status, kind of error, headers,
// body. What it sends stands in testdata, what may differ in differences_test.go.
package twin
