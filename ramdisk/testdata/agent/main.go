// Command agent stands in for ferric-agent where only the ramdisk is tested: it listens
// where the agent does and says so.
package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	fmt.Println("agent listening")
	err := http.ListenAndServe(":9999", http.NotFoundHandler())
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
