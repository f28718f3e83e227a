package launch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/handoff"
)

func TestPlanSeccomp(t *testing.T) {
	profile := filepath.Join(t.TempDir(), "p.json")
	if err := os.WriteFile(profile, []byte(`{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		seccomp               string
		privileged            bool
		unfiltered, ownFilter bool
	}{
		{"", false, false, false},
		{"none", false, true, false},
		{"", true, true, false},
		{profile, false, false, true},
		{profile, true, false, true},
	} {
		plan := new(handoff.Plan)
		err := planSeccomp(plan, &config.Container{Seccomp: c.seccomp, Security: config.Security{Privileged: c.privileged}})
		if err != nil || plan.Unfiltered != c.unfiltered || (plan.Filter != nil) != c.ownFilter || (plan.FilterFlags != 0) != c.ownFilter {
			t.Errorf("%+v: %+v, %v", c, plan, err)
		}
	}
	err := planSeccomp(new(handoff.Plan), &config.Container{Seccomp: profile + ".nosuch"})
	if err == nil || !strings.Contains(err.Error(), profile+".nosuch") {
		t.Errorf("no profile: %v", err)
	}
}
