module bricklayer.dev/tests/heketi/cli

go 1.16

require (
	github.com/heketi/heketi v10.3.0+incompatible
	github.com/asaskevich/govalidator v0.0.0-20200108200545-475eaeb16496
	github.com/boltdb/bolt v1.3.1
	github.com/form3tech-oss/jwt-go v3.2.5+incompatible
	github.com/go-ozzo/ozzo-validation v3.6.0+incompatible
	github.com/lpabon/godbc v0.1.1
	github.com/spf13/cobra v1.2.1
	k8s.io/api v0.15.12
	k8s.io/apimachinery v0.15.12
	k8s.io/client-go v0.15.12
)
