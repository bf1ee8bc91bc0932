package ipa

// Going on with a step after a reboot in its middle is an extension of
// ferric's outside the IPA protocol. An agent that can do so says it with
// ResumesKey in what it answers to get_<phase>_steps. A conductor that knows of
// it sends the parameter ResumeKey with execute_<phase>_step: null in the first
// run of a step, else what the step left. A step that needs a reboot succeeds
// with the member ResumeKey beside its empty result: the machine is to be
// rebooted, and the step sent again with that member. With WarmKey true beside it
// the reboot shall not switch the machine off. NoRebootKey true beside a result
// says that none has to follow, though the step is declared with one.
const (
	ResumesKey = "resumes"
	ResumeKey  = "resume"
	WarmKey    = "warm"

	NoRebootKey = "no_reboot"
)

// MaxResumeState bounds, in bytes of JSON, what a step leaves for its next run.
const MaxResumeState = 64 << 10
