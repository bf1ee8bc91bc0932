package raidctl

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// megaModel answers as storcli64 and perccli64 do, or as storcli2. The members
// are those that Broadcom's "12Gb/s MegaRAID Tri-Mode StorCLI User Guide" (MR 7.x,
// chapter "Working with the StorCLI Tool") and "StorCLI2 User Guide" (8.x) show in
// their examples of JSON output; values are made up.
type megaModel struct {
	second bool
	name   string
}

type members map[string]any

var (
	addCommand    = regexp.MustCompile(`^/c(\d+) add vd r(\d+) (.*)$`)
	deleteCommand = regexp.MustCompile(`^/c(\d+)/v(\d+) delete force$`)
	foreignDelete = regexp.MustCompile(`^/c(\d+)/fall delete$`)
	setCommand    = regexp.MustCompile(`^/c(\d+)(?:/e(\d+))?/s(\d+) (set jbod|set good force|set uconf force)$`)
	showAll       = regexp.MustCompile(`^/c(\d+) show all$`)
	showVolumes   = regexp.MustCompile(`^/c(\d+)/vall show all$`)
	showDisks     = regexp.MustCompile(`^/c(\d+)(/eall)?/sall show all$`)
)

func (megaModel) change(args []string) bool {
	line := strings.TrimSuffix(strings.Join(args, " "), " J")
	for _, c := range []*regexp.Regexp{addCommand, deleteCommand, foreignDelete, setCommand} {
		if c.MatchString(line) {
			return true
		}
	}
	return false
}

func (m megaModel) answer(controller any, wrong string, data members) string {
	status := members{"CLI Version": "007.1912.0000.0000 Nov 23, 2021", "Operating system": "Linux 6.1.0-28-amd64", "Status": "Success", "Description": "None"}
	if controller != nil {
		status["Controller"] = controller
	}
	if wrong != "" {
		status["Status"], status["Description"] = "Failure", "Operation failed"
		status["Detailed Status"] = []members{{"Ctrl": controller, "Status": "Failed", "ErrCd": 255, "ErrMsg": wrong}}
	}
	reply := members{"Command Status": status}
	if data != nil {
		reply["Response Data"] = data
	}
	text, err := json.MarshalIndent(members{"Controllers": []members{reply}}, "", "\t")
	if err != nil {
		panic(err)
	}
	return string(text) + "\n\n"
}

func (m megaModel) refuse(_ []string, words string) string { return m.answer(0, words, nil) }

func (m megaModel) run(s *modelState, args []string) (string, bool) {
	line, ok := strings.CutSuffix(strings.Join(args, " "), " J")
	if !ok {
		return "this model speaks JSON only\n", false
	}
	if s.ReadBad != "" && strings.Contains(line, "show") {
		return s.ReadBad, false
	}
	if line == "show" {
		return m.overview(s), true
	}
	for _, command := range []struct {
		form *regexp.Regexp
		do   func(c *modelController, words []string) (members, string)
	}{
		{showAll, func(c *modelController, _ []string) (members, string) { return m.controller(s, c), "" }},
		{showVolumes, func(c *modelController, _ []string) (members, string) { return m.volumes(s, c), "" }},
		{showDisks, func(c *modelController, words []string) (members, string) { return m.disks(c, words[2] != ""), "" }},
		{addCommand, func(c *modelController, words []string) (members, string) {
			return nil, m.add(s, c, words[2], words[3])
		}},
		{deleteCommand, func(c *modelController, words []string) (members, string) { return nil, c.drop(s, number(words[2])) }},
		{foreignDelete, func(c *modelController, _ []string) (members, string) {
			for _, d := range c.Disks {
				if d.State == "Foreign" {
					d.State = "UGood"
				}
			}
			return nil, ""
		}},
		{setCommand, func(c *modelController, words []string) (members, string) { return nil, m.set(c, words) }},
	} {
		words := command.form.FindStringSubmatch(line)
		if words == nil {
			continue
		}
		at := slices.IndexFunc(s.Controllers, func(c *modelController) bool { return c.ID == number(words[1]) })
		if at < 0 {
			return m.answer(number(words[1]), "Controller "+words[1]+" not found", nil), false
		}
		data, wrong := command.do(s.Controllers[at], words)
		if data != nil && slices.ContainsFunc(s.Controllers[at].Disks, func(d *modelDisk) bool { return d.State == "Foreign" }) {
			wrong = "Incomplete foreign configuration" // a failure with all that was asked
		}
		return m.answer(s.Controllers[at].ID, wrong, data), wrong == ""
	}
	return m.answer(nil, "syntax error, unexpected $end: "+line, nil), false
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return -1
	}
	return n
}

func (m megaModel) overview(s *modelState) string {
	data := members{"Number of Controllers": len(s.Controllers), "Host Name": "node", "Operating System ": "Linux 6.1.0-28-amd64"}
	var rows []members
	key := "Ctl"
	if m.second {
		key = "Ctrl"
	}
	for _, c := range s.Controllers {
		rows = append(rows, members{key: c.ID, "Model": strings.ReplaceAll(c.Model, " ", ""), "Ports": 8, "PDs": len(c.Disks), "VDs": len(c.Volumes), "Hlth": "Opt"})
	}
	if rows != nil {
		data["System Overview"] = rows
	}
	return m.answer(nil, "", data)
}

// size writes a size as the tool does: binary units with three digits.
func (m megaModel) size(sectors int64) string {
	size, unit := float64(sectors)*512/(1<<30), "GB"
	if size >= 1024 {
		size, unit = size/1024, "TB"
	}
	if m.second {
		unit = unit[:1] + "iB"
	}
	return fmt.Sprintf("%.3f %s", size, unit)
}

func (m megaModel) diskRow(d *modelDisk) members {
	place := fmt.Sprintf(" :%d", d.Slot)
	if d.Enclosure >= 0 {
		place = fmt.Sprintf("%d:%d", d.Enclosure, d.Slot)
	}
	row := members{"EID:Slt": place, "State": d.State, "DG": "-", "Size": m.size(d.Sectors), "Intf": d.Interface, "Med": d.Media, "SeSz": "512B", "Model": d.Model + "    ", "Sp": "U"}
	if d.Group != "" {
		row["DG"] = number(d.Group)
	}
	if d.State == "Foreign" {
		row["State"], row["DG"] = "UGood", "F"
	}
	if m.second {
		row["PID"], row["SED_Type"], row["LU/NS Count"], row["Alt-EID"] = 300+d.Slot, "-", 1, "-"
		words := map[string][2]string{"UGood": {"UConf", "Good"}, "Onln": {"Conf", "Online"}, "JBOD": {"JBOD", "Online"}, "UBad": {"UConf", "Bad"}, "GHS": {"GHS", "Good"}}
		if w, ok := words[row["State"].(string)]; ok {
			row["State"], row["Status"] = w[0], w[1]
		}
		return row
	}
	row["DID"], row["SED"], row["PI"], row["Type"] = 10+d.Slot, "N", "N", "-"
	return row
}

func (m megaModel) volumeRow(v *modelVolume) members {
	row := members{"DG/VD": fmt.Sprintf("%s/%d", v.Group, v.ID), "TYPE": "RAID" + v.Level, "State": v.State, "Access": "RW", "Size": m.size(v.Sectors), "Name": v.Name}
	if m.second {
		row["CurrentCache"], row["DefaultCache"] = "NR,WB", "NR,WB"
		return row
	}
	row["Consist"], row["Cache"], row["Cac"], row["sCC"] = "No", "RWBD", "-", "ON"
	return row
}

func (m megaModel) controller(s *modelState, c *modelController) members {
	yes := "No"
	if c.JBOD {
		yes = "Yes"
	}
	data := members{
		"Basics":  members{"Controller": c.ID, "Model": c.Model, "Serial Number": c.Serial, "PCI Address": c.PCI, "SAS Address": "500605b010e94370"},
		"Version": members{"Firmware Package Build": c.Firmware, "Firmware Version": "4.680.00-8563", "Driver Name": "megaraid_sas", "Driver Version": "07.719.03.00"},
		"Status":  members{"Controller Status": "Optimal", "BBU Status": 0},
		"HwCfg":   members{"On Board Memory Size": "2048MB"},
		"Capabilities": members{
			"Supported Drives": "SAS, SATA", "RAID Level Supported": c.Levels, "Enable JBOD": yes, "Mix in Enclosure": "Allowed",
			"Mix of SAS/SATA of HDD type in VD": "Not Allowed", "Mix of SAS/SATA of SSD type in VD": "Not Allowed", "Mix of SSD/HDD in VD": "Not Allowed",
			"Max Arms Per VD": 32, "Max Spans Per VD": 8,
		},
		"Physical Drives": len(c.Disks),
		"Cachevault_Info": []members{{"Model": "CVPM05", "State": "Optimal", "Temp": "28C"}},
	}
	if m.second {
		data["Basics"] = members{"Product Name": c.Model, "Serial Number": c.Serial}
		data["Version"] = members{"Package Version": c.Firmware, "Firmware Version": c.Firmware, "Driver Name": "mpi3mr", "Driver Version": "8.5.0.0.50"}
		data["HostInterface"] = members{"PCI Address": c.PCI}
		data["HwCfg"] = members{"DDR Memory Size(MiB)": 4096}
		data["Max. Supported Config"] = members{"Max PD Per Array": 32, "Max Spans Per VD": 8, "Max JBODs": 240}
		data["Capabilities"] = members{"Supported Drive Interfaces": "SAS, SATA, NVMe", "Supported RAID Levels": c.Levels,
			"Mix of SAS-HDD/SATA-HDD in VD": "Not Allowed", "Mix of SAS-SSD/SATA-SSD in VD": "Not Allowed", "Mix of SSD/HDD in VD": "Not Allowed"}
		data["Energy Pack Info"] = []members{{"Type": "Supercap", "SubType": "FBU345", "Status": "Optimal"}}
		delete(data, "Cachevault_Info")
	}
	if c.Mode != "" {
		data["Personality Information"] = members{"Current Personality": c.Mode}
	}
	var disks, volumes []members
	for _, d := range c.Disks {
		disks = append(disks, m.diskRow(d))
	}
	for _, v := range c.shown(s) {
		volumes = append(volumes, m.volumeRow(v))
	}
	if disks != nil {
		data["PD LIST"] = disks
	}
	if volumes != nil {
		data["Virtual Drives"], data["VD LIST"] = len(volumes), volumes
	}
	return data
}

func (m megaModel) disks(c *modelController, enclosures bool) members {
	data := members{}
	var list []members
	for _, d := range c.Disks {
		if (d.Enclosure >= 0) != enclosures {
			continue
		}
		path := fmt.Sprintf("/c%d/s%d", c.ID, d.Slot)
		if enclosures {
			path = fmt.Sprintf("/c%d/e%d/s%d", c.ID, d.Enclosure, d.Slot)
		}
		alert := "No"
		if d.Predictive > 0 {
			alert = "Yes"
		}
		health := members{"Shield Counter": 0, "Media Error Count": d.MediaErrors, "Other Error Count": 0, "Drive Temperature": " 31C (87.80 F)",
			"Predictive Failure Count": d.Predictive, "S.M.A.R.T alert flagged by drive": alert}
		attributes := members{"SN": "        " + d.Serial, "Manufacturer Id": "ATA     ", "Model Number": d.Model, "WWN": d.WWN, "Firmware Revision": "HXT7404Q",
			"Coerced size": fmt.Sprintf("%s [0x%x Sectors]", m.size(d.Sectors), d.Sectors), "Logical Sector Size": "512B"}
		if m.second {
			both := members{"Serial Number": d.Serial, "WWN": d.WWN, "Firmware Revision Level": "HXT7404Q",
				"LU/NS Properties": members{"Media Error Count": d.MediaErrors, "Predictive Failure Count": d.Predictive}}
			list = append(list, members{"Drive Information": m.diskRow(d), "Drive Detailed Information": both})
			continue
		}
		data["Drive "+path] = []members{m.diskRow(d)}
		data["Drive "+path+" - Detailed Information"] = members{"Drive " + path + " State": health, "Drive " + path + " Device attributes": attributes}
	}
	if m.second {
		return members{"Drives List": list}
	}
	return data
}

func (m megaModel) volumes(s *modelState, c *modelController) members {
	data := members{}
	var list []members
	for _, v := range append(slices.Clone(c.Volumes), c.Ghosts...) {
		var disks []members
		for _, d := range c.Disks {
			if slices.Contains(v.Disks, d.id()) {
				disks = append(disks, m.diskRow(d))
			}
		}
		facts := members{"Strip Size": "256 KB", "Number of Blocks": v.Sectors, "Span Depth": 1, "Number of Drives Per Span": len(v.Disks),
			"Exposed to OS": "Yes", "Active Operations": "None", "SCSI NAA Id": v.NAA}
		if v.Device != "" {
			facts["OS Drive Name"] = v.Device
		}
		list = append(list, members{"VD Info": m.volumeRow(v), "PDs": disks, "VD Properties": facts})
		data[fmt.Sprintf("/c%d/v%d", c.ID, v.ID)] = []members{m.volumeRow(v)}
		data[fmt.Sprintf("PDs for VD %d", v.ID)] = disks
		data[fmt.Sprintf("VD%d Properties", v.ID)] = facts
	}
	if m.second {
		return members{"Virtual Drives": list}
	}
	return data
}

// add is "add vd rX [size=N MB] name=… drives=e:s,s [pdperarray=N]".
func (m megaModel) add(s *modelState, c *modelController, level, rest string) string {
	name, spans := "", 1
	var sectors int64
	var ids []string
	perArray := 0
	for _, word := range strings.Fields(rest) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "name":
			if name = value; len(name) > 15 {
				return "VD name must not have more than 15 characters"
			}
		case "size":
			n, ok := strings.CutSuffix(value, "MB")
			mb, err := strconv.ParseInt(n, 10, 64)
			if !ok || err != nil {
				return "invalid size " + value
			}
			sectors = mb << 11
		case "drives":
			enclosure := ""
			for _, d := range strings.Split(value, ",") {
				if e, _, both := strings.Cut(d, ":"); both {
					enclosure = e
				} else if enclosure != "" {
					d = enclosure + ":" + d
				}
				ids = append(ids, d)
			}
		case "pdperarray":
			perArray = number(value)
		default:
			return "syntax error, unexpected " + word
		}
	}
	if perArray > 0 {
		if len(ids)%perArray != 0 {
			return "invalid number of drives per array"
		}
		spans = len(ids) / perArray
	}
	if spans > 8 {
		return "too many spans"
	}
	if !slices.Contains(storcliLevels(c.Levels), levelOf(level)) {
		return "RAID level is Un-supported"
	}
	return c.add(s, level, name, ids, spans, sectors)
}

func (m megaModel) set(c *modelController, words []string) string {
	for _, d := range c.Disks {
		if d.Slot != number(words[3]) || words[2] != "" && d.Enclosure != number(words[2]) || words[2] == "" && d.Enclosure >= 0 {
			continue
		}
		switch {
		case m.second == (words[4] == "set good force") && words[4] != "set jbod":
			return "syntax error, unexpected " + words[4]
		case words[4] == "set jbod" && !c.JBOD:
			return "Un-supported"
		case words[4] == "set jbod" && d.State == "UGood":
			d.State = "JBOD"
		case words[4] != "set jbod" && d.State == "JBOD":
			d.State = "UGood"
		default:
			return "The current operation is not allowed because of the state of the drive"
		}
		return ""
	}
	return "Drive not found"
}
