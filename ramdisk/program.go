package ramdisk

import "context"

// BuildProgram builds a program of one's own with the hardware manager of the package
// in a directory, and returns where it lies, in tempDir. text is the template of its
// source, executed with the import paths of managers, of which there is one: package
// main, which imports "{{index . 0}}" as m0. Whatever is wrong with the package, the error
// names the file and line. source is as for Options.Source.
func BuildProgram(ctx context.Context, source, dir, tempDir, text string) (string, error) {
	tools, err := findToolchain(ctx, source)
	if err != nil {
		return "", err
	}
	vendor, err := localManager(dir)
	if err != nil {
		return "", err
	}
	return tools.buildWith(ctx, tempDir, []vendored{vendor}, text)
}
