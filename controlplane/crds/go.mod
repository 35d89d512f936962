module crds

go 1.24.0

require (
	github.com/stolostron/cluster-lifecycle-api v0.0.0-20240813023109-42b5c115d0a3
	open-cluster-management.io/api v1.2.0
	open-cluster-management.io/config-policy-controller v0.19.0
	open-cluster-management.io/governance-policy-framework-addon v0.19.0
	open-cluster-management.io/governance-policy-propagator v0.19.0
)
