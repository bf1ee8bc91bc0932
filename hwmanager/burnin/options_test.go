package burnin

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// read is what any of the four reads from JSON.
func read(t testing.TB, kind, driverInfo string) (any, error) {
	t.Helper()
	var info map[string]any
	if err := json.Unmarshal([]byte(driverInfo), &info); err != nil {
		t.Fatal(err)
	}
	switch kind {
	case "cpu":
		return CPUOptionsOf(info)
	case "memory":
		return MemoryOptionsOf(info)
	case "disk":
		return DiskOptionsOf(info)
	}
	return NetworkOptionsOf(info)
}

func TestOptions(t *testing.T) {
	const pairing = `"agent_burnin_fio_network_config": {"role": "reader", "partner": "192.0.2.7"}`
	tests := []struct {
		kind, info string
		want       any
		err        string
	}{
		{"cpu", `{}`, CPUOptions{Time: 24 * time.Hour}, ""},
		{"cpu", `null`, CPUOptions{Time: 24 * time.Hour}, ""},
		{"cpu", `{"agent_burnin_cpu_cpu": 3, "agent_burnin_cpu_timeout": 60, "agent_burnin_cpu_outputfile": "/tmp/cpu"}`, CPUOptions{Workers: 3, Time: time.Minute, Output: "/tmp/cpu"}, ""},
		{"cpu", `{"agent_burnin_cpu_cpu": "3", "agent_burnin_cpu_timeout": " 60 "}`, CPUOptions{Workers: 3, Time: time.Minute}, ""},
		{"cpu", `{"agent_burnin_cpu_timeout": "2h"}`, CPUOptions{Time: 2 * time.Hour}, ""},
		{"cpu", `{"agent_burnin_cpu_cpu": null}`, CPUOptions{Time: 24 * time.Hour}, ""},
		{"cpu", `{"agent_burnin_cpu_cpu": -1}`, nil, "agent_burnin_cpu_cpu must be an integer from 0 to 4096, not -1"},
		{"cpu", `{"agent_burnin_cpu_cpu": 1.5}`, nil, "not 1.5"},
		{"cpu", `{"agent_burnin_cpu_cpu": "all"}`, nil, `not "all"`},
		{"cpu", `{"agent_burnin_cpu_cpu": 1e300}`, nil, "not 1e+300"},
		{"cpu", `{"agent_burnin_cpu_timeout": 0}`, nil, "agent_burnin_cpu_timeout must be a number of seconds from 1"},
		{"cpu", `{"agent_burnin_cpu_timeout": "h"}`, nil, `it is "h"`},
		{"cpu", `{"agent_burnin_cpu_timeout": ""}`, nil, `it is ""`},
		{"cpu", `{"agent_burnin_cpu_timeout": "99999999999999999d"}`, nil, "agent_burnin_cpu_timeout"},
		{"cpu", `{"agent_burnin_cpu_timeout": {}}`, nil, "agent_burnin_cpu_timeout"},
		{"cpu", `{"agent_burnin_cpu_outputfile": 7}`, nil, "agent_burnin_cpu_outputfile must be text"},
		{"cpu", `{"agent_burnin_cpu_outputfile": "/dev/sda"}`, nil, "must not be below /dev"},
		{"cpu", `{"agent_burnin_cpu_cpu": "x", "agent_burnin_cpu_timeout": "x"}`, nil, "agent_burnin_cpu_timeout"}, // all are named
		{"memory", `{}`, MemoryOptions{Size: Size{Percent: 98}, Time: 24 * time.Hour}, ""},
		{"memory", `{"agent_burnin_vm_vm": "2", "agent_burnin_vm_vm-bytes": "50%", "agent_burnin_vm_timeout": 5}`, MemoryOptions{Workers: 2, Size: Size{Percent: 50}, Time: 5 * time.Second}, ""},
		{"memory", `{"agent_burnin_vm_vm-bytes": "4G"}`, MemoryOptions{Size: Size{Bytes: 4 << 30}, Time: 24 * time.Hour}, ""},
		{"memory", `{"agent_burnin_vm_vm-bytes": "1048576b"}`, MemoryOptions{Size: Size{Bytes: 1 << 20}, Time: 24 * time.Hour}, ""},
		{"memory", `{"agent_burnin_vm_vm-bytes": 1048576}`, MemoryOptions{Size: Size{Bytes: 1 << 20}, Time: 24 * time.Hour}, ""},
		{"memory", `{"agent_burnin_vm_vm-bytes": "512m"}`, MemoryOptions{Size: Size{Bytes: 512 << 20}, Time: 24 * time.Hour}, ""},
		{"memory", `{"agent_burnin_vm_vm-bytes": "0%"}`, nil, "agent_burnin_vm_vm-bytes must be a share from 1% to 100%"},
		{"memory", `{"agent_burnin_vm_vm-bytes": "101%"}`, nil, "agent_burnin_vm_vm-bytes"},
		{"memory", `{"agent_burnin_vm_vm-bytes": "-4G"}`, nil, "agent_burnin_vm_vm-bytes"},
		{"memory", `{"agent_burnin_vm_vm-bytes": "4GiB"}`, nil, "agent_burnin_vm_vm-bytes"},
		{"memory", `{"agent_burnin_vm_vm-bytes": "9000000t"}`, nil, "agent_burnin_vm_vm-bytes"},
		{"memory", `{"agent_burnin_vm_vm-bytes": 98}`, nil, "agent_burnin_vm_vm-bytes"},
		{"memory", `{"agent_burnin_vm_vm-bytes": ""}`, nil, "agent_burnin_vm_vm-bytes"},
		{"disk", `{}`, DiskOptions{Loops: 4}, ""},
		{"disk", `{"agent_burnin_fio_disk_loops": "1", "agent_burnin_fio_disk_runtime": "30", "agent_burnin_fio_disk_smart_test": "True"}`, DiskOptions{Loops: 1, Time: 30 * time.Second, SMARTTest: true}, ""},
		{"disk", `{"agent_burnin_fio_disk_smart_test": true}`, DiskOptions{Loops: 4, SMARTTest: true}, ""},
		{"disk", `{"agent_burnin_fio_disk_smart_test": "long"}`, nil, "agent_burnin_fio_disk_smart_test must be true or false"},
		{"disk", `{"agent_burnin_fio_disk_loops": 0}`, nil, "agent_burnin_fio_disk_loops must be an integer from 1"},
		{"network", `{` + pairing + `}`, NetworkOptions{Partner: "192.0.2.7", Time: 6 * time.Hour, Wait: 6 * time.Hour}, ""},
		{"network", `{` + pairing + `, "agent_burnin_fio_network_runtime": 10}`, NetworkOptions{Partner: "192.0.2.7", Time: 10 * time.Second, Wait: 15 * time.Minute}, ""},
		{"network", `{` + pairing + `, "agent_burnin_fio_network_pairing_timeout": 10, "agent_burnin_fio_network_pairing_backend_url": "etcd3+http://x"}`, NetworkOptions{Partner: "192.0.2.7", Time: 6 * time.Hour, Wait: 10 * time.Second}, ""},
		{"network", `{"agent_burnin_fio_network_config": "{\"role\": \"writer\", \"partner\": \"n2.example\"}"}`, NetworkOptions{Writer: true, Partner: "n2.example", Time: 6 * time.Hour, Wait: 6 * time.Hour}, ""},
		{"network", `{}`, nil, "agent_burnin_fio_network_config is not set"},
		{"network", `{"agent_burnin_fio_network_pairing_backend_url": "etcd3+http://x"}`, nil, "pairing through a coordination service is not supported: set agent_burnin_fio_network_config"},
		{"network", `{"agent_burnin_fio_network_config": "writer"}`, nil, "is not JSON"},
		{"network", `{"agent_burnin_fio_network_config": []}`, nil, "must be an object"},
		{"network", `{"agent_burnin_fio_network_config": {"role": "both", "partner": "x"}}`, nil, `role must be "writer" or "reader", not "both"`},
		{"network", `{"agent_burnin_fio_network_config": {"role": "writer"}}`, nil, "partner must be the name or address of a node"},
		{"network", `{"agent_burnin_fio_network_config": {"role": "writer", "partner": "a b"}}`, nil, "partner must be"},
	}
	for _, test := range tests {
		t.Run(test.kind+" "+test.info, func(t *testing.T) {
			got, err := read(t, test.kind, test.info)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error = %v; want %q", err, test.err)
				}
				return
			}
			if err != nil || !cmp.Equal(got, test.want) {
				t.Errorf("%+v, %v; want %+v", got, err, test.want)
			}
		})
	}
}

// FuzzOptions: whatever a node says, options are within their bounds or an error.
func FuzzOptions(f *testing.F) {
	f.Add("98%", "3600", `{"role":"writer","partner":"x"}`)
	f.Add("4G", "1h", "")
	f.Add("%", "-", `{"role":1}`)
	f.Fuzz(func(t *testing.T, size, number, config string) {
		info := map[string]any{
			"agent_burnin_vm_vm-bytes": size, "agent_burnin_vm_vm": number, "agent_burnin_vm_timeout": number,
			"agent_burnin_cpu_timeout": number, "agent_burnin_fio_disk_loops": number, "agent_burnin_fio_disk_runtime": number,
			"agent_burnin_fio_network_config": config, "agent_burnin_fio_network_runtime": number,
		}
		if o, err := MemoryOptionsOf(info); err == nil {
			if o.Workers < 0 || o.Workers > mostWorkers || o.Time < time.Second || o.Time > mostTime || (o.Size.Bytes < leastMemory) == (o.Size.Percent < 1 || o.Size.Percent > 100) {
				t.Errorf("%+v", o)
			}
		}
		if o, err := DiskOptionsOf(info); err == nil && (o.Loops < 1 || o.Time < 0 || o.Time > mostTime) {
			t.Errorf("%+v", o)
		}
		if o, err := NetworkOptionsOf(info); err == nil && (o.Partner == "" || o.Time < time.Second || o.Wait < time.Second) {
			t.Errorf("%+v", o)
		} else if err != nil && len(fmt.Sprint(err)) > 2000 {
			t.Errorf("error of %d bytes", len(fmt.Sprint(err)))
		}
	})
}
