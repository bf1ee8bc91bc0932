// Command init says that it runs and waits: what a ramdisk costs at the least.
package main

import (
	"fmt"
	"time"
)

func main() {
	fmt.Println("init only")
	for {
		time.Sleep(time.Hour)
	}
}
