defmodule MappExtra.MixProject do
  use Mix.Project
  def project, do: [app: :mapp_extra, version: "1.0.0", elixir: "~> 1.14"]
  def application, do: [mod: {MappExtra, []}]
end
