defmodule Mapp.V1 do
  # The state of Mapp.Server in 1.0.0: {:v1, count}. The next version has no such module.
  def show({:v1, n}), do: "v1 #{n}"
end
