package kubernaut.lib.revisions_test

import data.kubernaut.lib.revisions
import data.kubernaut.testing.objects

kept := [objects.replicaset(1, "web:1"), objects.replicaset(2, "web:2"), objects.replicaset(3, "web:3")]

test_the_revision_that_is_meant[note] if {
	some note, tc in {
		"0 is the latest before the current": {"wanted": 0, "replicasets": kept, "want": {1}},
		"a number is itself": {"wanted": 3, "replicasets": kept, "want": {3}},
		"without an earlier one there is none": {"wanted": 0, "replicasets": [kept[1]], "want": set()},
	}
	got := {number | number := revisions.meant(objects.deployment, tc.replicasets, tc.wanted)}
	got == tc.want
}

test_the_template_has_no_hash if {
	revisions.template(objects.deployment, kept, 1).metadata.labels == {"app": "web"}
}
