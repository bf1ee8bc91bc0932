package conductor

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/conductor/event"
	"ferric/conductor/explain"
	"ferric/conductor/metrics"
)

const operationsPage = "../docs/operations.md"

// TestOperationsPage renders the tables of the page from those of the code.
func TestOperationsPage(t *testing.T) {
	page, err := os.ReadFile(operationsPage)
	if err != nil {
		t.Fatal(err)
	}
	events := "| kind | meaning | data |\n|---|---|---|\n"
	for _, k := range event.Kinds {
		events += fmt.Sprintf("| %s | %s | %s |\n", k.Name, k.Text, k.Data)
	}
	causes := "| cause | meaning |\n|---|---|\n"
	for _, c := range explain.Causes {
		causes += fmt.Sprintf("| %s | %s |\n", c.Name, c.Doc)
	}
	counts := "| metric | kind | labels | meaning |\n|---|---|---|---|\n"
	for _, m := range metrics.Table {
		counts += fmt.Sprintf("| %s | %s | %s | %s |\n", m.Name, m.Kind, strings.Join(m.Labels, ", "), m.Help)
	}
	got := string(page)
	for name, table := range map[string]string{"events": events, "causes": causes, "metrics": counts} {
		place := regexp.MustCompile(`(?s)<!-- ` + name + ` -->\n.*?<!-- end -->`)
		if !place.MatchString(got) {
			t.Fatalf("%s has no place for %s", operationsPage, name)
		}
		got = place.ReplaceAllLiteralString(got, "<!-- "+name+" -->\n"+table+"<!-- end -->")
	}
	if *update {
		if err := os.WriteFile(operationsPage, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(page), got); diff != "" {
		t.Errorf("%s is not what the tables say, run `make generate` (-page +tables):\n%s", operationsPage, diff)
	}
}
