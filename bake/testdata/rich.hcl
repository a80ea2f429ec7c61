variable "TAG" {
  default     = "dev"
  description = "the tag of all images"
}
variable "BASE" { default = null }
function "image" {
  params = [name]
  result = "example.com/${name}:${TAG}"
}
group "default" {
  targets     = ["app", "tools"]
  description = "what is released"
}
group "all" { targets = ["default", "base"] }
target "_common" {
  platforms = ["linux/arm64", "local"]
  args      = { VERSION = TAG, BASE = BASE, BRACES = "$${x}" }
  labels    = { one = "1" }
}
target "base" {
  description = "under the app"
  context     = "./base/"
}
target "app" {
  inherits = ["_common"]
  context  = "app/../app"
  tags     = [image("app")]
  contexts = { under = "target:base", files = "cwd://base" }
  cache-to = ["type=local,dest=cache"]
}
target "tools" {
  name       = "tools-${os}"
  matrix     = { os = ["b", "a"] }
  inherits   = ["_common"]
  context    = "app"
  dockerfile = "Dockerfile.${os}"
  args       = { OS = upper(os) }
}
